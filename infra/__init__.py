"""Settings, and the adapters to everything outside: stores, broker, tokens, metrics, logs."""
