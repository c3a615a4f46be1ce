"""How controllers and agents speak: the frame codec, NATS with its credentials, and an in-process twin for simulation."""
