"""Lifecycles as data: one file a kind of machine, one small language, nothing that does I/O or reads a clock."""
