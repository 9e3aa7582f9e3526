"""`rushes demo`: render the examples end to end against the simulator, in a minute and at no cost."""


def demo() -> int:
    """Render examples/prompts.jsonl end to end against the simulator, show the result, and clean up.

    Nothing is ever spent, even when WAVESPEED_API_KEY is set. The videos stay in ./renders.

    Example:

        rushes demo
    """
    from cli.commands.demo_run import run_demo  # noqa: PLC0415 - embedded servers are an extra, as in `up`

    return run_demo()
