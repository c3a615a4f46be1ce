"""Deterministic simulation by seeds: a seed draws a small fleet, its faults and its owner's orders, and is judged from outside."""
