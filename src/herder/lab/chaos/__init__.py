"""`herder chaos`: real services under load, broken at random for a while, and whether anything acknowledged was lost."""
