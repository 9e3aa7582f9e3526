"""The cost of a run, from the provider's books and the files alone, calculated the same way for every victim."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from rushes.monitoring.audit import Books, Charge
from sandbox.wavespeed import Simulator

BILLED = ("completed", "deleted")
"""Endings for which the provider keeps the price, with or without a file."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Renders that were paid for and not refunded, compared with the jobs that wanted them and the existing files."""

    lost: int  # paid for, wanted and rendered, but without a file
    paid_twice: int  # paid for beyond what was wanted
    wasted: Decimal  # dollars spent on anything but a wanted file


@dataclass(frozen=True, slots=True)
class Purchases:
    """The purchases for which the provider kept the money, by prompt."""

    books: Books
    kept: Counter[str]
    spent: Mapping[str, Decimal]
    empty: Counter[str] = field(default_factory=Counter)  # the part of `kept` that never had a file to fetch


def read_purchases(simulator: Simulator) -> Purchases:
    """The simulator's tasks and ledger, in the form in which the audit reads those of any provider."""
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
    """`wanted` and `files` count jobs and their videos by prompt, since equal jobs may get each other's render."""
    lost = twice = 0
    wasted = Decimal(0)
    for prompt, bought in purchases.kept.items():
        useful = min(bought, files.get(prompt, 0), wanted.get(prompt, 0))
        lost += max(0, min(bought, wanted.get(prompt, 0)) - useful - purchases.empty[prompt])
        twice += max(0, bought - wanted.get(prompt, 0))
        wasted += purchases.spent[prompt] * (bought - useful) / bought
    return Cost(lost, twice, wasted)
