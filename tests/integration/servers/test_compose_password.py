"""The command of compose's Redis accepts any password."""

import os
import subprocess
from pathlib import Path

import redis
import yaml

from sandbox.servers.process import find_binary
from sandbox.servers.valkey import BINARY, PACKAGE
from tests.support.simulator_client import wait_until

ROOT = Path(__file__).resolve().parents[3]
PASSWORD = "/ @#?[]%:'\"\\ $x\\"


def test_the_redis_of_compose_takes_any_password(tmp_path: Path) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    shell, flag, command = services["redis"]["command"]
    socket = tmp_path / "socket"
    binary = find_binary(PACKAGE, BINARY)
    command = command.replace("$$", "$").replace("valkey-server", str(binary))
    command = command.replace("/data", f"{tmp_path} --port 0 --unixsocket {socket}")
    environment = {**os.environ, "REDIS_PASSWORD": PASSWORD}
    with subprocess.Popen([shell, flag, command], env=environment) as server:
        try:
            client = redis.Redis(unix_socket_path=str(socket), password=PASSWORD)
            wait_until(lambda: is_open(client), "an answer of Redis", seconds=30)
        finally:
            server.terminate()
            assert server.wait(timeout=30) == 0


def is_open(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
