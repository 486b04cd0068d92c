"""One part with its real surroundings: sockets, files, servers, processes."""
