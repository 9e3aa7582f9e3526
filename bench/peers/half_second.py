"""The most common way to poll: submit, then request the result every half second."""

import time
from typing import Any

import requests

from bench.peers.script import MODEL, Render, ScriptOptions, Seen, run_script

POLL_SECONDS = 0.5
ENDED = ("completed", "failed", "cancelled", "timeout", "deleted")


def open_render(options: ScriptOptions) -> Render:
    """Plain requests, with a new connection for each."""
    api = f"{options.url}/api/v3"
    headers = {"Authorization": f"Bearer {options.key}"}

    def render(prompt: str) -> Seen:
        answer = _read(requests.post(f"{api}/{MODEL}", json={"prompt": prompt}, headers=headers, timeout=60))
        prediction = answer["id"]
        while answer["status"] not in ENDED:
            time.sleep(POLL_SECONDS)
            answer = _read(requests.get(f"{api}/predictions/{prediction}/result", headers=headers, timeout=30))
        return Seen(prediction, answer["status"], answer["outputs"])

    return render


def _read(answer: requests.Response) -> dict[str, Any]:
    answer.raise_for_status()
    data: dict[str, Any] = answer.json()["data"]
    return data


if __name__ == "__main__":
    run_script(open_render)
