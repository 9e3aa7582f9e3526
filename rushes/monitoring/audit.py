"""Check the guarantees: in our rows, against the provider's books, and in the bytes of every file.

audit_rows            rows alone: safe and useful on a live system at any time
audit_files           every promised file exists, byte for byte; reads all files
compare_with_ledger   the provider's own list of tasks and charges: nothing lost, nothing bought twice
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from sqlalchemy.orm import Session

from models import queries
from rushes.artifacts.store import ArtifactStore
from rushes.errors import NotFound


@dataclass(frozen=True, slots=True)
class Finding:
    """One guarantee and how often it is broken. A count of 0 means that it holds."""

    name: str
    sentence: str
    count: int
    examples: tuple[str, ...] = ()

    @property
    def is_broken(self) -> bool:
        return self.count > 0


@dataclass(frozen=True, slots=True)
class Books:
    """The provider's record of its work for the account. The prices that it holds and has kept are by task."""

    task_ids: Sequence[str]
    held: Mapping[str, Decimal]  # for open tasks
    kept: Mapping[str, Decimal]  # for ended tasks, without refunded ones
    most_unfinished: int | None = None  # the most tasks that it ever saw at once, if it reports this


def audit_rows(session: Session) -> list[Finding]:
    """Check every guarantee that rows alone can break. Each finding has its count and up to ten examples."""
    return [_find(session, rule) for rule in queries.audit.RULES]


def audit_files(session: Session, store: ArtifactStore) -> list[Finding]:
    """Check that every file that a row promises exists with the promised size and SHA-256.

    A file that was removed on purpose is promised no more, even if it was when this began.
    """
    missing: list[UUID] = []
    changed: list[str] = []
    for promised in queries.audit.list_stored_files(session):
        found = _measure(store, promised.url)
        if found is None:
            missing.append(promised.artifact_id)
        elif found != (promised.bytes, promised.sha256):
            changed.append(str(promised.artifact_id))
    still_missing = [str(each.artifact_id) for each in queries.audit.list_stored_files(session, missing)]
    return [
        _collect("files_exist", "the artifact's file is gone", still_missing),
        _collect("files_unchanged", "the artifact's file has another size or SHA-256 than its row", changed),
    ]


def compare_with_ledger(session: Session, books: Books, *, drained: bool) -> list[Finding]:
    """Compare our rows with the provider's books. `drained` means that nothing is under way: then all must be equal."""
    purchases = queries.audit.list_purchases(session)
    findings = [
        _find_unbought(books, purchases),
        *_compare_money(books, purchases, drained=drained),
        _find_crowds(session, books),
    ]
    if not drained:
        return findings  # a task without a row may be one that the provider is still answering
    return [*findings, _find_unknown(books, purchases), _find(session, queries.audit.EVERY_JOB_ENDED)]


def _find(session: Session, rule: queries.audit.AuditRule) -> Finding:
    broken = queries.audit.find_broken(session, rule)
    return Finding(rule.name, rule.sentence, broken.total, tuple(broken.examples))


def _collect(name: str, sentence: str, ids: Iterable[str]) -> Finding:
    found = sorted(ids)
    return Finding(name, sentence, len(found), tuple(found[: queries.audit.EXAMPLES]))


def _measure(store: ArtifactStore, url: str) -> tuple[int, str] | None:
    try:
        with store.open(url) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return file.tell(), digest
    except NotFound:
        return None


def _find_unknown(books: Books, purchases: Sequence[queries.audit.Purchase]) -> Finding:
    known = {each.provider_id for each in purchases}
    named = {*books.task_ids, *books.held, *books.kept}
    return _collect("every_task_in_a_row", "the provider accepted a task that none of our rows has", named - known)


def _find_unbought(books: Books, purchases: Sequence[queries.audit.Purchase]) -> Finding:
    accepted = set(books.task_ids)
    invented = [each.provider_id for each in purchases if each.provider_id not in accepted]
    return _collect("every_row_has_a_task", "a row names a task that the provider never had", invented)


def _compare_money(books: Books, purchases: Sequence[queries.audit.Purchase], *, drained: bool) -> list[Finding]:
    """Tasks that we closed must have equal prices on both sides. Open tasks and sums must agree only once drained."""
    kept, held = books.kept, books.held
    spent = {each.provider_id: each.price for each in purchases if each.is_spent}
    rendering = {each.provider_id: each.price for each in purchases if each.state == "rendering"}
    closed = {each.provider_id for each in purchases} - rendering.keys()
    unequal = [task for task in closed if kept.get(task) != spent.get(task)]
    findings = [_collect("prices_agree", "the price we settled is not what the provider has kept", unequal)]
    if drained:
        open_ones = [task for task in held.keys() | rendering.keys() if held.get(task) != rendering.get(task)]
        findings.append(_collect("held_alike", "the price we hold is not what the provider holds", open_ones))
        totals = [] if sum(kept.values()) == sum(spent.values()) else [f"{sum(spent.values())} {sum(kept.values())}"]
        findings.append(_collect("spent_alike", "the sums differ: ours, then the provider's", totals))
    return findings


def _find_crowds(session: Session, books: Books) -> Finding:
    crowds = queries.audit.list_crowds(session)
    over = [f"{each.account}: {each.most_live} of {each.allowed}" for each in crowds if each.most_live > each.allowed]
    allowed = sum(each.allowed + each.given_back for each in crowds)
    if books.most_unfinished is not None and books.most_unfinished > allowed:
        over.append(f"the provider saw {books.most_unfinished} of {allowed}")
    return _collect("never_over_slots", "more renders were under way at once than slots and overcommit allow", over)
