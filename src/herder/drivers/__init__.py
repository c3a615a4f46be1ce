"""How an agent starts, changes and looks at one engine: one driver per engine, one conformance suite for all."""
