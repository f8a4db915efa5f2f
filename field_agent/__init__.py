"""The portable client: encrypted store, interviews, sync, bundles."""
