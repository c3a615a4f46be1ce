"""Nouns as frozen types: what a fleet is made of, said once and without I/O."""
