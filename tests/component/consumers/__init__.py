"""Relay, worker and reconciler with a real broker and real stores."""
