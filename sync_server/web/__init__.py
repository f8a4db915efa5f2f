"""The server's doors: sync, supervisors' pages."""
