"""Whether a failed download is tried again, and when: a table of cases, and what holds for all of them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.queries import OutputEvidence
from models.transitions.storing.unverified import GIVE_UP_AFTER
from models.transitions.watching.retention import RETENTION
from rushes.artifacts import Suspect
from rushes.storing.next_attempt import (
    CONFIRM_AFTER,
    CUT_AFTER,
    EXPIRED,
    FAILED,
    GONE,
    LONE_DOCUMENT_AFTER,
    UNVERIFIED,
    FailedDownload,
    plan_next,
)

MINUTE = timedelta(minutes=1)
FILE, DOCUMENT, CUT = Suspect.FILE, Suspect.DOCUMENT, Suspect.CUT


def failed(suspect: Suspect | None = None, **changes: object) -> FailedDownload:
    """The first download of a fresh output, that gave no file unless `suspect` says what it gave."""
    return FailedDownload(suspect, same=False, refused=False, attempt=1, age=MINUTE)._replace(**changes)


def evidence(**changes: object) -> OutputEvidence:
    """A host of which nothing is known."""
    quiet = OutputEvidence(
        outage=False, probes=0, arrived_lately=False, kept_seconds=None, arrived_since_kept=False, sent_to_others=False
    )
    return quiet._replace(**changes)


def plan(download: FailedDownload, seen: OutputEvidence, *, draw: float = 0.5) -> tuple[str, timedelta | None]:
    return plan_next(download, seen, random=lambda: draw)


KEPT = evidence(kept_seconds=30.0)
VOUCHED = KEPT._replace(arrived_since_kept=True)


def kept_for(length: timedelta, **changes: object) -> OutputEvidence:
    return evidence(kept_seconds=length.total_seconds(), **changes)


@pytest.mark.parametrize(
    ("download", "seen", "ends"),
    [
        pytest.param(failed(FILE), evidence(), False, id="undecodable once"),
        pytest.param(failed(FILE, same=True), KEPT, True, id="undecodable twice"),
        pytest.param(failed(FILE, same=True), KEPT._replace(outage=True), True, id="undecodable twice, in an outage"),
        pytest.param(failed(DOCUMENT, same=True), KEPT, False, id="a page twice, nothing else known"),
        pytest.param(failed(DOCUMENT, same=True), VOUCHED, True, id="a page twice, another file arrived since"),
        pytest.param(failed(DOCUMENT, same=True), kept_for(LONE_DOCUMENT_AFTER), True, id="a page for minutes"),
        pytest.param(
            failed(DOCUMENT, same=True), kept_for(timedelta(hours=9), outage=True), False, id="a page, in an outage"
        ),
        pytest.param(
            failed(DOCUMENT, same=True), VOUCHED._replace(sent_to_others=True), False, id="a page sent to others, too"
        ),
        pytest.param(failed(DOCUMENT), VOUCHED, False, id="another page than before"),
        pytest.param(failed(CUT, same=True), VOUCHED, False, id="cut twice"),
        pytest.param(failed(CUT, same=True), kept_for(CUT_AFTER), True, id="cut for an hour"),
        pytest.param(failed(CUT, same=True), kept_for(CUT_AFTER, outage=True), False, id="cut, in an outage"),
        pytest.param(failed(attempt=1_000), evidence(), False, id="no file, ever"),
        pytest.param(failed(refused=True, attempt=1_000, age=GIVE_UP_AFTER - MINUTE), evidence(), False, id="404"),
    ],
)
def test_a_job_ends_only_if_the_file_is_at_fault(download: FailedDownload, seen: OutputEvidence, ends: bool) -> None:
    code, delay = plan(download, seen)
    assert (delay is None) == ends
    assert code == (UNVERIFIED if download.suspect else FAILED)


@pytest.mark.parametrize(
    ("download", "seen", "code"),
    [
        (failed(age=GIVE_UP_AFTER), evidence(), EXPIRED),
        (failed(age=GIVE_UP_AFTER), KEPT, UNVERIFIED),
        (failed(CUT, age=GIVE_UP_AFTER), evidence(), UNVERIFIED),
        (failed(refused=True, age=RETENTION - MINUTE), evidence(), EXPIRED),
        (failed(refused=True, age=RETENTION), evidence(), GONE),
        (failed(age=RETENTION), evidence(), EXPIRED),
    ],
)
def test_six_days_after_completion_a_job_ends(download: FailedDownload, seen: OutputEvidence, code: str) -> None:
    assert plan(download, seen) == (code, None)


@pytest.mark.parametrize("draw", [0.0, 0.5, 0.999])
def test_a_file_that_fails_the_probe_is_fetched_again_within_a_minute(draw: float) -> None:
    for suspect, seen in ((FILE, evidence()), (DOCUMENT, evidence(arrived_lately=True))):
        _, delay = plan(failed(suspect), seen, draw=draw)
        assert delay == CONFIRM_AFTER * (1 + draw)


def test_a_lone_page_is_fetched_again_after_minutes() -> None:
    _, delay = plan(failed(DOCUMENT), evidence())
    assert delay is not None
    assert delay >= LONE_DOCUMENT_AFTER


@given(
    suspect=st.sampled_from([None, *Suspect]),
    same=st.booleans(),
    refused=st.booleans(),
    attempt=st.integers(1, 10_000),
    age=st.timedeltas(timedelta(0), timedelta(days=8)),
    draw=st.floats(0, 0.999),
    seen=st.builds(
        OutputEvidence,
        outage=st.booleans(),
        probes=st.integers(0, 1_000),
        arrived_lately=st.booleans(),
        kept_seconds=st.none() | st.floats(0, 700_000),
        arrived_since_kept=st.booleans(),
        sent_to_others=st.booleans(),
    ),
)
def test_no_job_ends_before_six_days_unless_the_same_bytes_arrived_twice(
    suspect: Suspect | None,
    same: bool,
    refused: bool,
    attempt: int,
    age: timedelta,
    draw: float,
    seen: OutputEvidence,
) -> None:
    download = FailedDownload(suspect, same=same, refused=refused, attempt=attempt, age=age)
    code, delay = plan(download, seen, draw=draw)
    if age < GIVE_UP_AFTER and not (same and suspect):
        assert delay is not None
    if delay is not None:
        assert timedelta(0) <= delay <= timedelta(minutes=30)
        assert age < GIVE_UP_AFTER
    assert code in {FAILED, UNVERIFIED, EXPIRED, GONE}
