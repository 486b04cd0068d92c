"""The sandbox portal: a portal on this machine, over real HTTP (contract portals.md 3)."""

from consumers.portals.sandbox.server import create_app, run

__all__ = ["create_app", "run"]
