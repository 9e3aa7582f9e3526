"""Every move: the public functions of `models/transitions/` that change a state or append an event."""

import inspect
from collections.abc import Callable
from typing import Any

from models import transitions

HELPERS = {"confirm_removed", "fail_job", "is_unwanted", "record_finished", "withdraw_submits"}
"""Called within a move, or after one."""
OF_ACTIONS = {"insert_action", "hold_action", "advance_action", "end_action", "remove_actions"}
"""They write how far an action has come; the moves that it makes are its jobs'."""

OF_BATCHES = {"hold_batch", "hold_batches_of", "take_back_ends", "add_jobs"}
"""They lock a batch, or need a locked one: test_transitions_batches.py, test_bulk.py."""


def list_moves() -> dict[str, Callable[..., Any]]:
    """The moves by name. A name stands for one function."""
    moves: dict[str, Callable[..., Any]] = {}
    for module in (getattr(transitions, name) for name in transitions.__all__):
        if module.__name__.startswith(("models.transitions.access.", "models.transitions.callbacks.")):
            continue  # tenants and keys are not moved through states, and deliveries have tests of their own
        for name, function in vars(module).items():
            if inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_"):
                assert name not in moves, name
                moves[name] = function
    return {name: function for name, function in moves.items() if name not in HELPERS | OF_ACTIONS | OF_BATCHES}
