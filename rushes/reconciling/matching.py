"""Matches the provider's predictions with our submissions, by input and time. Pure: no clock, no I/O.

The provider knows no reference of ours. So we compare inputs, but only the keys that we sent: the provider may add
defaults and reorder keys. Equal inputs are interchangeable, so submissions with identical inputs take one candidate
each.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

CLOCK_MARGIN = timedelta(seconds=5)
UNKNOWN_CLOCK = timedelta(minutes=10)
"""How far apart the clocks may be until an answer shows the offset."""


class Submission(Protocol):
    """What may have made a candidate. `is_open`: its own answer may still come."""

    @property
    def video_model(self) -> str: ...
    @property
    def input(self) -> Mapping[str, Any]: ...
    @property
    def posted_at(self) -> datetime: ...
    @property
    def is_open(self) -> bool: ...


class Candidate(Protocol):
    """A prediction at the provider that no row of ours has; `inputs` is None if it cannot be read."""

    @property
    def id(self) -> str: ...
    @property
    def video_model_id(self) -> str: ...
    @property
    def inputs(self) -> Mapping[str, Any] | None: ...
    @property
    def created_at(self) -> datetime | None: ...


S = TypeVar("S", bound=Submission)
C = TypeVar("C", bound=Candidate)


@dataclass(frozen=True, slots=True)
class Clocks:
    """How the provider's clock relates to ours: an acceptance is stamped within these bounds of our `posted_at`."""

    earliest: timedelta
    latest: timedelta

    def allow(self, submission: Submission, candidate: Candidate) -> bool:
        """Whether this submission can have created this candidate, judging by the time of its creation."""
        if candidate.created_at is None:
            return True
        return self.earliest <= candidate.created_at - submission.posted_at <= self.latest


def find_clocks(after_post: timedelta | None, after_answer: timedelta | None, *, settle_time: timedelta) -> Clocks:
    """Return the bounds that follow from how long after a POST, and after an answer, the provider stamps an acceptance
    (the smallest and the largest seen; None: none seen)."""
    if after_post is None or after_answer is None:
        return Clocks(-UNKNOWN_CLOCK, settle_time + UNKNOWN_CLOCK)
    earliest = min(timedelta(0), after_post) - CLOCK_MARGIN
    return Clocks(earliest, settle_time + max(timedelta(0), after_answer) + CLOCK_MARGIN)


@dataclass(slots=True)
class Matches(Generic[S, C]):
    """The results of matching. A submission that is open itself is in none of them."""

    adoptions: list[tuple[S, C]] = field(default_factory=list)
    waiting: list[S] = field(default_factory=list)  # an equal one may still get its answer
    missing: list[S] = field(default_factory=list)  # not among the candidates
    undecidable: list[S] = field(default_factory=list)  # a candidate that cannot be read may be it
    unmatched: list[C] = field(default_factory=list)  # belong to no submission of ours, or cannot be read


def match_submissions(submissions: Iterable[S], candidates: Sequence[C], *, clocks: Clocks) -> Matches[S, C]:
    """Pair submissions with candidates of equal input, the oldest with the oldest."""
    found = Matches[S, C]()
    groups = _group_submissions(submissions)
    equal = _group_candidates(candidates, {(model, keys) for model, keys, _ in groups})
    unreadable = [each for each in candidates if each.inputs is None]
    taken: set[str] = set()
    for key, group in groups.items():
        if any(each.is_open for each in group):
            found.waiting += [each for each in group if not each.is_open]
            taken |= {each.id for each in equal[key]}
            continue
        pairs, left = _pair(group, equal[key], clocks)
        found.adoptions += pairs
        taken |= {candidate.id for _, candidate in pairs}
        for submission in left:
            may_be = [each for each in unreadable if each.video_model_id in (submission.video_model, "")]
            unclear = any(clocks.allow(submission, each) for each in may_be)
            (found.undecidable if unclear else found.missing).append(submission)
    found.unmatched = [each for each in candidates if each.id not in taken]
    return found


def canonical(values: Mapping[str, Any]) -> str:
    """Return the same text for equal inputs: keys sorted, 6.0 written as 6, texts stripped of outer white space."""
    return json.dumps({key: _plain(value) for key, value in values.items()}, sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value.strip() if isinstance(value, str) else value


_Group = tuple[str, tuple[str, ...], str]  # the video model, the keys that we sent, and their values


def _group_submissions(submissions: Iterable[S]) -> dict[_Group, list[S]]:
    groups: defaultdict[_Group, list[S]] = defaultdict(list)
    for each in sorted(submissions, key=lambda each: each.posted_at):
        groups[(each.video_model, tuple(sorted(each.input)), canonical(each.input))].append(each)
    return groups


def _group_candidates(
    candidates: Iterable[C], shapes: set[tuple[str, tuple[str, ...]]]
) -> defaultdict[_Group, list[C]]:
    groups: defaultdict[_Group, list[C]] = defaultdict(list)
    for each in candidates:
        if (shown := each.inputs) is None:
            continue
        for model, keys in shapes:
            if model == each.video_model_id and all(key in shown for key in keys):
                groups[(model, keys, canonical({key: shown[key] for key in keys}))].append(each)
    return groups


def _pair(submissions: Iterable[S], candidates: Iterable[C], clocks: Clocks) -> tuple[list[tuple[S, C]], list[S]]:
    """Pair oldest with oldest, as far as the clocks allow. All windows have the same length, so greedy is optimal."""
    free = sorted(candidates, key=lambda each: each.created_at.timestamp() if each.created_at else math.inf)
    pairs, left = [], []
    for submission in submissions:
        found = next((each for each in free if clocks.allow(submission, each)), None)
        if found is None:
            left.append(submission)
            continue
        free.remove(found)
        pairs.append((submission, found))
    return pairs, left
