"""The crash sweep: a controller, or an agent, killed at every point of a playbook, and again while that is made good."""
