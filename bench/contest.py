"""One contest: a contestant, a load, its own provider with the same renders for every contestant, and the figures."""

import itertools
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.arena import Arena, ContestFailed, Player
from bench.arithmetic import (
    Figures,
    Span,
    count_unseen,
    find_mean,
    find_percentile,
    measure_delays,
    measure_slot_share,
)
from bench.contestants import PLAYERS
from bench.loads import DOWNLOAD_RATE, Load
from bench.processes import SIMULATOR, Meter
from sandbox.wavespeed.handle import Simulator

PAUSE_SECONDS = 0.5
PATIENCE = 5.0
"""A contest may take this many times its expected time."""

Show = Callable[[int], None]
"""Receives the number of stored videos (or of accepted tasks, if the load is only held)."""

_WATCHING = ("result", "list")


def hold_contest(
    load: Load,
    contestant: str,
    *,
    seed: int = 1,
    prompts: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    show: Show = lambda _: None,
) -> Figures:
    """Measure one contestant under one load.

    The simulator draws the render time of the n-th accepted task from the seed, so that every contestant gets the same
    renders. Raises `ContestFailed` if the contestant does not finish, since its figures would be worthless.
    """
    ordered = list(itertools.islice(itertools.cycle(prompts), load.renders)) if prompts else _make_prompts(load)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, open_simulator(load, seed=seed) as simulator:
        arena = Arena(load, simulator, Path(folder), ordered, settings or {})
        with PLAYERS[contestant](arena) as player:
            began = time.time()
            with Meter() as meter:
                player.begin()
                _wait_until_over(player, arena, show)
            return _read_figures(player, arena, meter, began=began)


def open_simulator(load: Load, *, seed: int) -> Simulator:
    """The provider of a contest, not yet started."""
    return Simulator(
        slots=load.slots,
        submits_per_minute=load.submits_per_minute,
        overflow=load.overflow,
        median=load.median,
        sigma=load.sigma,
        cap=load.cap,
        seed=seed,
        video_bytes=load.video_bytes,
        download_rate=DOWNLOAD_RATE if load.video_bytes else 0,
    )


def _make_prompts(load: Load) -> list[str]:
    return [f"a take of {load.name}, number {number}" for number in range(load.renders)]


def _wait_until_over(player: Player, arena: Arena, show: Show) -> None:
    load, deadline = arena.load, time.monotonic() + PATIENCE * arena.load.seconds
    while (done := _count_done(player, arena)) < load.renders:
        show(done)
        if time.monotonic() > deadline:
            raise ContestFailed(f"{load.name}: {done} of {load.renders} after {PATIENCE * load.seconds:.0f} s")
        time.sleep(PAUSE_SECONDS)
    show(done)
    over = time.monotonic() + load.hold
    while time.monotonic() < over:
        player.count_stored()  # also restarts ended processes and raises on failures
        time.sleep(PAUSE_SECONDS)


def _count_done(player: Player, arena: Arena) -> int:
    stored = player.count_stored()
    return int(arena.simulator.stats()["accepted"]) if arena.load.hold else stored


def _read_figures(player: Player, arena: Arena, meter: Meter, *, began: float) -> Figures:
    load, stats = arena.load, arena.simulator.stats()
    spans = [Span(*each) for each in arena.simulator.times()]
    known = player.read_known()
    delays = measure_delays(spans, known)
    requests = {kind: count / load.renders for kind, count in sorted(stats["requests"].items())}
    return Figures(
        renders=load.renders,
        unseen=count_unseen(spans, known),
        seconds=meter.seconds,
        known_seconds=max(known.values()) - began if known else None,
        watching_requests=sum(requests.get(kind, 0.0) for kind in _WATCHING),
        mean_delay=find_mean(delays),
        p95_delay=find_percentile(delays, 0.95),
        slot_share=measure_slot_share(spans, load.slots),
        most_unfinished=stats["most_unfinished"],
        requests=requests,
        cpu_ms={
            kind: spent * 1_000 / load.renders for kind, spent in sorted(meter.cpu_seconds.items()) if kind != SIMULATOR
        },
        memory_mb={kind: size / 2**20 for kind, size in sorted(meter.memory_bytes.items()) if kind != SIMULATOR},
        simulator_cores=meter.cpu_seconds.get(SIMULATOR, 0.0) / meter.seconds,
        extra=player.read_extra(),
    )
