"""A simulator of the WaveSpeed API, written from the provider's documentation and official clients alone.

It knows nothing of our own client: two readings of one contract, so that a mistake in one of them shows. It renders
real videos, keeps an account with slots, limits and a ledger, and can go wrong in every way that hurts a client.

    command     options and `--help`; `python -m sandbox.wavespeed`
    handle      `Simulator`: the same as a subprocess, for tests and benchmarks
    http/       sockets and signals, the table of addresses, what every request passes, good and bad answers
    handlers/   one module per part of the API, and /sim, where faults are switched on and checked
    state/      tasks, slots, listing, ledger, limits, agenda, fates, journal, and what can be made to go wrong
    media/      videos, pictures, uploads
    webhooks    signed callbacks

Left out on purpose: what the provider does not offer for these video models (base64 outputs, streaming), the v2 API,
and pages that only old documentation knows and no client uses.
"""

from sandbox.wavespeed.handle import Simulator, SimulatorFailed

__all__ = ["Simulator", "SimulatorFailed"]
