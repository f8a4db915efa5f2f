"""The shape of everything that crosses a boundary, and the one catalogue of problems."""
