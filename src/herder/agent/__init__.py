"""What runs on every server: watches the engines there, answers jobs, sends a pulse. One small process, no numpy."""
