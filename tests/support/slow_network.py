"""A network that fails slowly, for processes of their own: lookups or connects for one port time out."""

import os
import socket
import time
from pathlib import Path
from typing import Any

LOOKUP_SECONDS = 2.0
"""The time until a resolver gives up."""


def slow_down(port: int, switch: Path) -> Any:
    """Replace the lookup of this process. While the file exists, it fails for this port, or finds the port in the file
    instead."""
    find = socket.getaddrinfo

    def find_slowly(host: str, asked: Any, *more: Any, **options: Any) -> Any:
        if asked != port or not switch.exists():
            return find(host, asked, *more, **options)
        if found := switch.read_text():
            return find(host, int(found), *more, **options)
        time.sleep(LOOKUP_SECONDS)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    return find_slowly


def write_start(folder: Path, port: int, switch: Path) -> str:
    """Make Python processes slow from their start. Returns their PYTHONPATH."""
    (folder / "sitecustomize.py").write_text(
        "import pathlib, socket\nfrom tests.support.slow_network import slow_down\n"
        f"socket.getaddrinfo = slow_down({port}, pathlib.Path({str(switch)!r}))\n"
    )
    return os.pathsep.join([str(folder), str(Path(__file__).parents[2])])
