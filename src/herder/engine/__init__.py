"""The engine: events in, one appended record out; everything else is derived from the log."""
