"""Free ports for what a test starts."""

from infra.local_servers import free_port

_given = set[int]()


def free_ports(count: int) -> list[int]:
    """TCP ports of 127.0.0.1 that nobody listens at now.

    None is given twice in a process: what was drawn before may not be listened at yet.
    """
    ports = list[int]()
    while len(ports) < count:
        port = free_port()
        if port not in _given:
            _given.add(port)
            ports.append(port)
    return ports
