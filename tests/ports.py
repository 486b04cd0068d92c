"""Free ports for what a test starts."""

import socket
from contextlib import ExitStack

_given = set[int]()


def free_ports(count: int) -> list[int]:
    """TCP ports of 127.0.0.1 that nobody listens at now; each is another one.

    All are held until the last is drawn, and none is given twice in a process: what was drawn before may not be
    listened at yet.
    """
    ports = list[int]()
    with ExitStack() as held:
        while len(ports) < count:
            listener = held.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            port: int = listener.getsockname()[1]
            if port not in _given:
                ports.append(port)
    _given.update(ports)
    return ports
