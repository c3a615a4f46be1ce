"""Protocols that stand between herder's decisions and the world: clock, store, wire, driver, provider."""
