"""What a run cost, by the provider's own books and the files alone: the same reckoning for whoever was the victim."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from rushes.monitoring.audit import Books, Charge
from sandbox.wavespeed import Simulator

BILLED = ("completed", "deleted")
"""Endings whose price the provider keeps, a file or not."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Renders that were paid for and not refunded, against the jobs that wanted them and the files there are."""

    lost: int  # paid for, wanted, rendered, and no file
    paid_twice: int  # paid for beyond what was wanted
    wasted: Decimal  # dollars for what is not a wanted file


@dataclass(frozen=True, slots=True)
class Purchases:
    """By prompt, what the provider kept the money for."""

    books: Books
    kept: Counter[str]
    spent: Mapping[str, Decimal]
    empty: Counter[str] = field(default_factory=Counter)  # of `kept`, what never had a file to fetch


def read_purchases(simulator: Simulator) -> Purchases:
    """The simulator's tasks and ledger, as the audit reads any provider's."""
    charges = [
        Charge(each["task_id"], each["type"], each["state"], Decimal(each["price"])) for each in simulator.ledger()
    ]
    tasks: Sequence[Mapping[str, Any]] = simulator.tasks()
    books = Books([each["id"] for each in tasks], charges, most_unfinished=simulator.stats()["most_unfinished"])
    prompts = {each["id"]: str(each["input"]["prompt"]) for each in tasks}
    without_file = {each["id"] for each in tasks if each["status"] in BILLED and each["output"] is None}
    kept: Counter[str] = Counter()
    empty: Counter[str] = Counter()
    spent: defaultdict[str, Decimal] = defaultdict(Decimal)
    for task, price in books.list_kept().items():
        kept[prompts[task]] += 1
        empty[prompts[task]] += task in without_file
        spent[prompts[task]] += price
    return Purchases(books, kept, spent, empty)


def reckon(purchases: Purchases, *, wanted: Mapping[str, int], files: Mapping[str, int]) -> Cost:
    """`wanted` and `files` count jobs and their videos by prompt: equal jobs may have each other's render."""
    lost = twice = 0
    wasted = Decimal(0)
    for prompt, bought in purchases.kept.items():
        useful = min(bought, files.get(prompt, 0), wanted.get(prompt, 0))
        lost += max(0, min(bought, wanted.get(prompt, 0)) - useful - purchases.empty[prompt])
        twice += max(0, bought - wanted.get(prompt, 0))
        wasted += purchases.spent[prompt] * (bought - useful) / bought
    return Cost(lost, twice, wasted)
