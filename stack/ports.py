"""Addresses to listen on: the requested one, or the next free one."""

import errno
from collections.abc import Container
from urllib.parse import urlsplit

from rushes.network import hide_login
from sandbox.servers.ports import bind_briefly
from stack.errors import BAD_INPUT, CommandError

ATTEMPTS = 100


def read_listen_address(url: str, *, port: int | None = None) -> tuple[str, int]:
    """Host and port for the API from RUSHES_URL; `port` overrides the URL's port. Raises `CommandError`."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None or parts.path.strip("/") or parts.username:
        raise CommandError(
            f"RUSHES_URL: the API cannot listen at {hide_login(url)}",
            hint="it listens at plain http://HOST:PORT; put a proxy before it for anything else",
            exit_code=BAD_INPUT,
        )
    return parts.hostname, next(each for each in (port, parts.port, 80) if each is not None)


def find_free_port(host: str, port: int, *, taken: Container[int] = ()) -> int:
    """The port if it is free, else the next free one above it; 0 means any port. Raises `CommandError`."""
    for candidate in range(port, min(port + ATTEMPTS, 65_536)) if port else [0] * ATTEMPTS:
        try:
            found = bind_briefly(host, candidate)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            reason = (error.strerror or str(error)).lower()
            raise CommandError(f"nothing can listen at {host}:{candidate}: {reason}", exit_code=BAD_INPUT) from error
        if found not in taken:
            return found
    raise CommandError(f"no port from {port} to {port + ATTEMPTS - 1} is free on {host}", hint="choose another one")


def web_url(host: str, port: int) -> str:
    """`http://HOST:PORT`, also for IPv6."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
