"""Serve the API at a socket that is shared with other processes: `python -m stack.shared_api FD SECONDS`.

The system gives each new connection to one of them. uvicorn's own option for a socket takes it for a Unix socket.
"""

import socket
import sys

import uvicorn


def serve(descriptor: int, stop_seconds: int) -> None:
    """Serve until SIGTERM, and then let requests take this long. The socket must listen."""
    config = uvicorn.Config(
        "api.app:create_app",
        factory=True,
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=stop_seconds,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
