"""The operators' commands: they read the service's own settings, and work on its stores (contract cli.md 5)."""
