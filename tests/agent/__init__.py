"""The agent's commands, interviews and pages."""
