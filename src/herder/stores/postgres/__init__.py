"""The store in PostgreSQL 15 or later: its schema, its statements, and a server of its own where none is given."""
