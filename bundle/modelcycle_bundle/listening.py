"""Listening sockets, on every address of a node unless one is named: of both families, where the node has both. Standard library only."""

import socket
from typing import Final

EVERYWHERE: Final = ""
"""As a host to listen on: all addresses."""


def listening(host: str, port: int, backlog: int) -> socket.socket:
    """A socket that listens. One for IPv4 and IPv6 where `host` is EVERYWHERE; port 0 takes a free one. Raises OSError."""
    if host != EVERYWHERE:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=backlog)
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server((host, port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True)
        except OSError:
            # The kernel knows IPv6 and the node has it switched off; a port that is taken is refused below as well.
            pass
    return socket.create_server((host, port), backlog=backlog)
