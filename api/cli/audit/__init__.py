"""`app-manager audit`: what the log says, on the log itself or on a copy of it (contract cli.md 5)."""
