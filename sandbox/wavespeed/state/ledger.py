"""The account's money: each price is held at submission, and kept or refunded when the task ends."""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal
from uuid import uuid4

from sandbox.wavespeed.state.tasks import Task


def _make_id() -> str:
    return uuid4().hex


@dataclass(slots=True, eq=False, kw_only=True)
class Record:
    """One line of the ledger. A `deduct` is `pre` while the task is open, then `done`; a `refund` is `done`."""

    uuid: str = field(default_factory=_make_id)
    type: Literal["deduct", "refund"]
    state: Literal["pre", "done"]
    task_id: str
    model: str
    price: Decimal
    access_key: str
    created: float
    updated: float


class Ledger:
    """The records in order of their creation. At any moment: balance = funds - sum of deducts + sum of refunds."""

    def __init__(self, funds: Decimal) -> None:
        self.funds = funds
        self.records: list[Record] = []
        self._by_task: defaultdict[str, list[Record]] = defaultdict(list)
        self._spent = Decimal(0)

    @property
    def balance(self) -> Decimal:
        return self.funds - self._spent

    def hold(self, task: Task) -> None:
        """Take the price of a new task out of the balance."""
        self._spent += task.price
        self._append(
            Record(
                type="deduct",
                state="pre",
                task_id=task.id,
                model=task.asked.model.id,
                price=task.price,
                access_key=task.asked.access_key,
                created=task.accepted,
                updated=task.accepted,
            )
        )

    def close(self, task_id: str, moment: float) -> None:
        """Close the deduction: the provider keeps the price."""
        for record in self.of(task_id):
            record.state = "done"
            record.updated = moment

    def refund(self, task_id: str, moment: float) -> None:
        """Refund the whole price and close the deduction; repeated calls do nothing."""
        match self.of(task_id):
            case [held]:
                self.close(task_id, moment)
                self._spent -= held.price
                self._append(replace(held, uuid=_make_id(), type="refund", created=moment))

    def of(self, task_id: str) -> list[Record]:
        return self._by_task.get(task_id, [])

    def _append(self, record: Record) -> None:
        self.records.append(record)
        self._by_task[record.task_id].append(record)
