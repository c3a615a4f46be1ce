"""What people and the pulse ask of a fleet: commands in, views out."""
