"""The round between device and server, over every kind of bad wire."""
