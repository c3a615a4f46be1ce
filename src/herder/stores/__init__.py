"""Adapters of the Store port: PostgreSQL, and memory for simulation."""
