"""The simulator: adapters for the production control plane in virtual time. It decides nothing; it is the world."""
