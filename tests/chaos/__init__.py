"""Chaos: the service as real processes on real servers, which are killed, stopped and cut off under load.

A *round* draws a plan from its seed, runs it against a fresh service, and holds what clients were told against the
event log, the portal's own list, the read models and the streams. `python -m tests.chaos --help`, or `make chaos`.
"""
