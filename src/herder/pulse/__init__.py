"""The pulse: frames folded onto a board, silence and bad readings turned into events."""
