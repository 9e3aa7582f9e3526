"""Serve the API at a socket that is shared with other processes: `python -m api.serve FD`.

The system gives each new connection to one of them. uvicorn's own option for a socket takes it for a Unix socket.
"""

import socket
import sys

import uvicorn


def serve(descriptor: int) -> None:
    """Serve until SIGTERM. The socket must listen."""
    config = uvicorn.Config("api.app:create_app", factory=True, access_log=False, proxy_headers=False)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    serve(int(sys.argv[1]))
