"""Redis as deployments run it: with TLS, on a Unix socket, or in cluster mode. A real `redis-server`."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rushes.monitoring.broker import find_broker_fault
from sandbox.servers.ports import free_port
from tests.support.simulator_client import wait_until

PASSWORD = "s3cret"


@contextlib.contextmanager
def serve_redis(folder: Path, url: str, *options: str, ca_file: Path | None = None) -> Iterator[str]:
    """`url` of a `redis-server` with these options. Skips the test if there is none on this machine."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    command = [program, "--dir", str(folder), "--requirepass", PASSWORD, "--save", "", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _answers(url, ca_file), "redis-server answers", seconds=30)
            yield url
        finally:
            process.terminate()


def _answers(url: str, ca_file: Path | None) -> bool:
    fault = find_broker_fault(url, ca_file=ca_file)
    return fault is None or fault.is_final


def serve_tls(folder: Path) -> contextlib.AbstractContextManager[str]:
    """A server with a certificate of its own authority, `ca.pem` in the folder."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    key, certificate = folder / "key.pem", folder / "ca.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run([openssl, *made, "-out", str(certificate), *subject], check=True, capture_output=True)
    port = free_port()
    files = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-auth-clients", "no"]
    listen = ["--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1"]
    return serve_redis(folder, f"rediss://:{PASSWORD}@127.0.0.1:{port}/0", *listen, *files, ca_file=certificate)


def serve_socket(folder: Path, *, scheme: str, database: int) -> contextlib.AbstractContextManager[str]:
    """A server that listens on no port."""
    path = folder / "redis.sock"
    return serve_redis(folder, f"{scheme}://:{PASSWORD}@{path}?db={database}", "--port", "0", "--unixsocket", str(path))


def serve_cluster(folder: Path) -> contextlib.AbstractContextManager[str]:
    """A node in cluster mode."""
    port = free_port()
    listen = ["--port", str(port), "--bind", "127.0.0.1", "--cluster-enabled", "yes"]
    return serve_redis(folder, f"redis://:{PASSWORD}@127.0.0.1:{port}/0", *listen)
