"""The account's money: each price is held at submission, and kept or refunded when the task ends."""

import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Kind = Literal["deduct", "refund"]
State = Literal["pre", "done"]


@dataclass(slots=True, eq=False)
class Record:
    """One line of the ledger. A `deduct` is `pre` while the task is open, then `done`; a `refund` is `done`."""

    uuid: str
    kind: Kind
    task_id: str
    model: str
    price: Decimal
    created: float
    updated: float
    state: State
    access_key: str


class Ledger:
    """The records in order of their creation. At any moment: balance = funds - sum of deducts + sum of refunds."""

    def __init__(self, funds: Decimal) -> None:
        self.funds = funds
        self.records: list[Record] = []
        self._by_task: dict[str, list[Record]] = {}
        self._spent = Decimal(0)

    @property
    def balance(self) -> Decimal:
        return self.funds - self._spent

    def hold(self, record: Record) -> None:
        """Take the price of a new task out of the balance."""
        self._append(record)
        self._spent += record.price

    def close(self, task_id: str, moment: float) -> None:
        """Close the deduction: the provider keeps the price."""
        for record in self.of(task_id):
            record.state = "done"
            record.updated = moment

    def refund(self, task_id: str, moment: float) -> None:
        """Refund the whole price and close the deduction; repeated calls do nothing."""
        held = self.of(task_id)
        if not held or any(record.kind == "refund" for record in held):
            return
        first = held[0]
        self.close(task_id, moment)
        self._append(
            Record(
                uuid=uuid.uuid4().hex,
                kind="refund",
                task_id=task_id,
                model=first.model,
                price=first.price,
                created=moment,
                updated=moment,
                state="done",
                access_key=first.access_key,
            )
        )
        self._spent -= first.price

    def of(self, task_id: str) -> list[Record]:
        return self._by_task.get(task_id, [])

    def _append(self, record: Record) -> None:
        self.records.append(record)
        self._by_task.setdefault(record.task_id, []).append(record)
