"""Matches the provider's predictions with our unconfirmed submissions. Pure: no clock, no I/O.

The provider knows no reference of ours. So we compare inputs, but only the keys that we sent: the provider may add
defaults and reorder keys. Equal inputs are interchangeable, so unconfirmed submissions with identical inputs take one
candidate each.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from rushes.wavespeed.callback_urls import Origin


@dataclass(frozen=True, slots=True)
class Submission:
    """A submission of ours that was posted and has no provider id. `is_open`: its answer may still come."""

    prediction_id: UUID
    video_model: str
    input: Mapping[str, Any]
    posted_at: datetime
    is_open: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """A prediction at the provider that no row of ours has; `input` is None if it cannot be read.

    `origin` holds the prediction and the job named by its webhook's address, if the address is one of ours.
    """

    provider_id: str
    video_model: str
    input: Mapping[str, Any] | None
    created_at: datetime | None
    origin: Origin | None = None

    def as_unknown(self, account_id: UUID) -> dict[str, object]:
        """Return the row of an unknown prediction."""
        return {
            "account_id": account_id,
            "provider_id": self.provider_id,
            "video_model": self.video_model,
            "input": dict(self.input) if self.input is not None else None,
            "provider_created_at": self.created_at,
        }


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


@dataclass(slots=True)
class Findings:
    """The results of matching."""

    adoptions: list[tuple[Submission, Candidate]] = field(default_factory=list)
    waiting: list[Submission] = field(default_factory=list)  # an equal one may still get its answer
    missing: list[Submission] = field(default_factory=list)  # unconfirmed, and not among the candidates
    undecidable: list[Submission] = field(default_factory=list)  # a candidate that cannot be read may be it
    unmatched: list[Candidate] = field(default_factory=list)  # belong to no submission of ours


def match_submissions(
    submissions: Sequence[Submission], candidates: Sequence[Candidate], *, clocks: Clocks
) -> Findings:
    """Pair submissions with candidates of equal input, the oldest with the oldest."""
    findings = Findings()
    readable = [each for each in candidates if each.input is not None]
    unreadable = [each for each in candidates if each.input is None]
    by_input = _group_candidates(readable, {(each.video_model, _keys(each)) for each in submissions})
    taken: set[str] = set()
    for key, group in _group_submissions(submissions).items():
        if any(each.is_open for each in group):
            findings.waiting += [each for each in group if not each.is_open]
            taken |= {each.provider_id for each in by_input[key]}
            continue
        pairs, left = _pair(group, by_input[key], clocks)
        findings.adoptions += pairs
        taken |= {candidate.provider_id for _, candidate in pairs}
        for submission in left:
            unclear = any(_may_be(submission, each, clocks) for each in unreadable)
            (findings.undecidable if unclear else findings.missing).append(submission)
    findings.unmatched = [each for each in readable if each.provider_id not in taken]
    return findings


def canonical(values: Mapping[str, Any]) -> str:
    """Return the same text for equal inputs: keys sorted, 6.0 written as 6, texts stripped of outer white space."""
    return json.dumps({key: _plain(value) for key, value in values.items()}, sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value.strip() if isinstance(value, str) else value


def _keys(submission: Submission) -> tuple[str, ...]:
    return tuple(sorted(submission.input))


_Group = tuple[str, tuple[str, ...], str]


def _group_submissions(submissions: Iterable[Submission]) -> dict[_Group, list[Submission]]:
    groups: defaultdict[_Group, list[Submission]] = defaultdict(list)
    for each in sorted(submissions, key=lambda each: each.posted_at):
        groups[(each.video_model, _keys(each), canonical(each.input))].append(each)
    return groups


def _group_candidates(
    candidates: Iterable[Candidate], shapes: set[tuple[str, tuple[str, ...]]]
) -> defaultdict[_Group, list[Candidate]]:
    groups: defaultdict[_Group, list[Candidate]] = defaultdict(list)
    for each in candidates:
        assert each.input is not None  # noqa: S101 - the caller passes readable ones
        for model, keys in shapes:
            if model == each.video_model and all(key in each.input for key in keys):
                groups[(model, keys, canonical({key: each.input[key] for key in keys}))].append(each)
    return groups


def _pair(
    submissions: Sequence[Submission], candidates: Sequence[Candidate], clocks: Clocks
) -> tuple[list[tuple[Submission, Candidate]], list[Submission]]:
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


def _may_be(submission: Submission, candidate: Candidate, clocks: Clocks) -> bool:
    same_model = candidate.video_model in (submission.video_model, "")
    return same_model and clocks.allow(submission, candidate)
