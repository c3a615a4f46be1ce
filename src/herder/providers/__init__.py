"""Where servers come from: each module makes, boots, fences and removes servers in one kind of place."""
