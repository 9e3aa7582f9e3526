"""The account's money: each price is held at submission, and kept or refunded when the task ends."""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from sandbox.wavespeed.state.tasks import SETTLED, Task

REFUNDED = frozenset({"failed", "cancelled", "timeout"})
"""Endings that are refunded. The provider promises it for failures and time-outs and does not mention others."""


@dataclass(slots=True, eq=False, kw_only=True)
class Record:
    """One line of the ledger. A `deduct` is `pre` while the task is open, then `done`; a `refund` is `done`."""

    type: Literal["deduct", "refund"]
    state: Literal["pre", "done"]
    task_id: str
    price: Decimal
    created: float


class Ledger:
    """The records in order of their creation. At any moment: balance = funds - sum of deducts + sum of refunds."""

    def __init__(self, funds: Decimal) -> None:
        self.balance = funds
        self.records: list[Record] = []
        self._held: dict[str, Record] = {}

    def hold(self, task: Task) -> None:
        """Take the price of a new task out of the balance."""
        record = Record(type="deduct", state="pre", task_id=task.id, price=task.price, created=task.accepted)
        self._held[task.id] = record
        self.records.append(record)
        self.balance -= task.price

    def settle(self, task: Task, moment: float) -> None:
        """Keep or refund the whole price of a task that has ended; after an unknown ending it stays held."""
        if task.fate.status not in SETTLED:
            return
        held = self._held.pop(task.id)
        held.state = "done"
        if task.fate.status in REFUNDED:
            self.records.append(replace(held, type="refund", created=moment))
            self.balance += held.price
