"""The contestants by name."""

from contextlib import AbstractContextManager

from bench.arena import Arena, Contestant, Player
from bench.loads import CELERY, HALF_SECOND, RUSHES, SDK, WEBHOOKS
from bench.peer_processes import open_plain_celery, open_script
from bench.rushes_stack import has_webhooks, open_rushes, open_rushes_with_webhooks


def _open_sdk(arena: Arena) -> AbstractContextManager[Player]:
    return open_script(arena, module="sdk_threads")


def _open_half_second(arena: Arena) -> AbstractContextManager[Player]:
    return open_script(arena, module="half_second")


PLAYERS: dict[str, Contestant] = {
    SDK: _open_sdk,
    HALF_SECOND: _open_half_second,
    CELERY: open_plain_celery,
    RUSHES: open_rushes,
    **({WEBHOOKS: open_rushes_with_webhooks} if has_webhooks() else {}),
}
