"""Ports on the loopback address."""

import socket
import sys

HOST = "127.0.0.1"


def free_port() -> int:
    """A port on 127.0.0.1 that nobody used a moment ago; whoever binds it must be ready to lose the race."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class PortHold:
    """Keeps ports from being given to others, while a server that is to listen there is not there yet or any more.

    Linux: a port that somebody has bound is given to nobody who asks for any, and whoever asks for it by its number
    with SO_REUSEADDR, as servers do, still gets it while nobody listens. Elsewhere nothing is held.
    """

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}

    def take(self, port: int, *, host: str = HOST) -> None:
        """Hold this port from now on; somebody may have been faster, and then it is not held."""
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
        """Let go of all of them."""
        for hold in self._sockets.values():
            hold.close()
        self._sockets.clear()


def find_obstacle(port: int) -> str | None:
    """Why a server could not listen on this port now, in the system's words; None when it could."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no obstacle
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return (error.strerror or str(error)).lower()
    return None
