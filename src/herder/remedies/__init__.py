"""Remedies: what a person would have typed, written down. The catalogue says when, each playbook's file says how."""
