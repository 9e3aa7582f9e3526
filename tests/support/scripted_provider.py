"""A client at a scripted provider, and the things that tests send through it."""

from collections.abc import Iterator
from contextlib import contextmanager

from rushes.wavespeed.client import Timeouts, WaveSpeedClient
from rushes.wavespeed.predictions import ProviderPrediction
from tests.support.scripted_server import Script, ScriptedServer

KEY = "wsk_live_0123456789"
MODEL = "lightricks/ltx-2-pro/text-to-video"
VALUES = {"prompt": "a lighthouse in fog", "duration": 6, "generate_audio": True}
TASK = {"id": "0123456789abcdef0123456789abcdef", "model": MODEL, "status": "created", "outputs": [], "error": ""}
PATIENT = Timeouts(connect=60, read=60, total=60, submit_total=60)


def envelope(data: object, code: int = 200, message: str = "success") -> dict[str, object]:
    return {"code": code, "message": message, "data": data}


@contextmanager
def client_of(script: Script, timeouts: Timeouts = PATIENT) -> Iterator[tuple[WaveSpeedClient, ScriptedServer]]:
    with ScriptedServer(script) as server:
        client = WaveSpeedClient(server.url, KEY, timeouts=timeouts)
        yield client, server
        client.close()


def submit_to(script: Script) -> ProviderPrediction:
    with client_of(script) as (client, _):
        return client.submit(MODEL, VALUES)


def check_at(script: Script) -> ProviderPrediction:
    with client_of(script) as (client, _):
        return client.get_prediction(TASK["id"])
