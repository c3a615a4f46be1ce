"""Tools of tests, the demo and the bench; production never imports this."""
