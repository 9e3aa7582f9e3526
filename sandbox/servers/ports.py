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
        self._sockets: dict[int, list[socket.socket]] = {}

    def take(self, port: int, *, host: str = HOST) -> bool:
        """Hold this port from now on. Returns False if another program has taken it first, or another hold has it."""
        if not sys.platform.startswith("linux") or port in self._sockets:
            return True
        # The name is exclusive and ends with the process; the port is not, as long as no socket listens.
        name, hold = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        hold.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            name.bind(f"\0rushes-port-{port}")
            hold.bind((host, port))
        except OSError:
            name.close()
            hold.close()
            return False
        self._sockets[port] = [name, hold]
        return True

    def release(self) -> None:
        """Release all held ports."""
        for held in self._sockets.values():
            for each in held:
                each.close()
        self._sockets.clear()


def find_obstacle(port: int) -> str | None:
    """The system's reason why a server cannot listen on this port now; None if it can."""
    try:
        bind_briefly(HOST, port)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None
