"""herder looks after fleets of PostgreSQL, Valkey and NATS so that nobody is woken up."""

__version__ = "0.1.0"
