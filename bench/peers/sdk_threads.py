"""The provider's own Python client in a thread pool: `run` submits, then polls once a second until it is done."""

import wavespeed

from bench.peers.script import MODEL, Render, ScriptOptions, Seen, run_script


def open_render(options: ScriptOptions) -> Render:
    """One client for all threads, with its defaults."""
    client = wavespeed.Client(api_key=options.key, base_url=options.url)

    def render(prompt: str) -> Seen:
        answer = client.run_no_throw(MODEL, {"prompt": prompt})  # like `run`, but returns the id
        return Seen(answer["task_id"], answer["status"], answer["outputs"] or [])

    return render


if __name__ == "__main__":
    run_script(open_render)
