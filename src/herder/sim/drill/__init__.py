"""Drills: a day on which a region fails, run over a simulated fleet by the production engine, and what came of it."""
