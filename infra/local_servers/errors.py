"""What can be wrong with a server on this machine, told in one line that says what to do."""


class LocalServerError(Exception):
    """Readable as it is: what is wrong, and what to do about it."""


class PortTaken(LocalServerError):
    """Somebody else listens there: where the port is ours to choose, another one is tried."""


class NotYetFree(LocalServerError):
    """In use; where that is by a server killed just now, it passes within moments, so the start is tried again."""
