"""`rushes up`: run the whole stack on one machine and keep it alive until Ctrl-C."""

from typing import Annotated

import typer

WorkersOption = Annotated[
    int, typer.Option("--workers", "-w", min=1, max=64, help="Worker processes for submits and checks.")
]
ApiOption = Annotated[
    int, typer.Option("--api-processes", min=1, max=64, help="Processes of the API, which share its port.")
]
PortOption = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port of the API instead of RUSHES_URL's; 0 picks any.")
]
FlowerOption = Annotated[int, typer.Option(min=0, max=65535, help="Port of Flower; 0 picks any.")]
SimulatorOption = Annotated[int, typer.Option(min=0, max=65535, help="Port of the simulator; 0 picks any.")]
FastOption = Annotated[
    bool, typer.Option("--fast", help="For a first trial: simulated renders end in seconds. Needs an unset key.")
]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Show what every process logs.")]


def up(
    *,
    workers: WorkersOption = 1,
    api_processes: ApiOption = 1,
    port: PortOption = None,
    flower_port: FlowerOption = 5555,
    simulator_port: SimulatorOption = 8900,
    fast: FastOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Run the whole stack until Ctrl-C: Postgres, Redis, API, workers and Flower.

    The command starts Postgres and Redis unless RUSHES_DATABASE_URL and RUSHES_REDIS_URL name others. Without
    WAVESPEED_API_KEY a simulator replaces the provider, and nothing is spent. A process that ends is restarted.

    Examples:

        rushes up

        rushes up --fast

        RUSHES_SLOTS=100 RUSHES_SUBMITS_PER_MINUTE=500 rushes up --workers 2 --verbose
    """
    from stack.run import run_stack  # noqa: PLC0415 - embedded servers are an extra that other commands do without

    return run_stack(
        workers=workers,
        api_processes=api_processes,
        port=port,
        flower_port=flower_port,
        simulator_port=simulator_port,
        fast=fast,
        verbose=verbose,
    )
