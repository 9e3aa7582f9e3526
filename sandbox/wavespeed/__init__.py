"""A simulator of the WaveSpeed API, written only from the provider's documentation and official clients.

It shares no code with our own client: these are two independent readings of one contract, so that a mistake in one of
them shows. It renders real videos, keeps an account with slots, limits and money, and can inject every fault that
hurts a client.

    __main__    options and `--help`; `python -m sandbox.wavespeed`
    handle      `Simulator`: the same as a subprocess, for tests and benchmarks
    http/       sockets and signals, the routing table, the gate that every request passes, good and bad answers
    handlers/   one module per part of the API, and /sim, which switches faults on and shows their state
    state/      tasks and their fates, the account, slots and limits, journal, faults
    videos      the files of completed renders
    webhooks    signed callbacks

Left out on purpose: features that the provider does not offer for these video models (base64 outputs, streaming), the
v2 API, and what our client never uses: waiting for the render in the submission (`enable_sync_mode`), uploads,
deletion, billing records, usage, and the list of models.
"""
