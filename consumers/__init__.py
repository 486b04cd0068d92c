"""What acts on the event log: the relay, the worker and what it works with, portals and document writers (design 7)."""
