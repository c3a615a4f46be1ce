"""The store that a simulation keeps its log in."""
