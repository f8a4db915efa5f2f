"""What to believe when two honest statements disagree. Pure."""
