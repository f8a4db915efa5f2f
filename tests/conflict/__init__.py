"""Disagreements made up from a seed, and what must hold of each."""
