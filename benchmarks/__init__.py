"""What is measured, beside its peer, by one command."""
