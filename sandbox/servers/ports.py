"""Ports on the loopback address."""

import socket
import sys

HOST = "127.0.0.1"


def bind_briefly(host: str, port: int) -> int:
    """Bind the port for a moment; returns it, or a free one in place of 0. Raises OSError if a server could not."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do, so that TIME_WAIT is no obstacle
        probe.bind(address)
        bound: int = probe.getsockname()[1]
        return bound


def free_port() -> int:
    """A port on 127.0.0.1 that was free a moment ago. The caller must handle losing it to another program."""
    return bind_briefly(HOST, 0)


class PortHold:
    """Reserves ports while the server that will listen there has not started yet or is being restarted.

    Linux: the kernel never hands out a bound port to a program that asks for any port. A program that binds it by
    number with SO_REUSEADDR, as servers do, still gets it while no socket listens. Elsewhere nothing is held.
    """

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}

    def take(self, port: int, *, host: str = HOST) -> None:
        """Hold this port from now on; if another program has taken it first, it is not held."""
        if not sys.platform.startswith("linux") or port in self._sockets:
            return
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        hold = socket.socket(family)
        hold.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            hold.bind((host, port))
        except OSError:
            hold.close()
        else:
            self._sockets[port] = hold

    def release(self) -> None:
        """Release all held ports."""
        for hold in self._sockets.values():
            hold.close()
        self._sockets.clear()


def find_obstacle(port: int) -> str | None:
    """The system's reason why a server cannot listen on this port now; None if it can."""
    try:
        bind_briefly(HOST, port)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None
