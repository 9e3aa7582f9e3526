"""Whether a failed download is tried again, and when: a table of cases, and what holds for all of them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.queries.storing import OutputEvidence
from models.transitions.storing.unverified import GIVE_UP_AFTER
from models.transitions.watching.retention import RETENTION
from rushes.artifacts.errors import Suspect
from rushes.storing.next_attempt import (
    CONFIRM_AFTER,
    EXPIRED,
    FAILED,
    GONE,
    SAME_FOR,
    UNVERIFIED,
    VOUCH_AFTER,
    FailedDownload,
    is_final_without_download,
    plan_next,
)

MINUTE = timedelta(minutes=1)
FILE, DOCUMENT, CUT = Suspect.FILE, Suspect.DOCUMENT, Suspect.CUT
TROUBLE: dict[str, dict[str, bool]] = {
    "an outage is on": {"outage": True},
    "other downloads failed": {"others_failed": True},
    "others got the same bytes": {"sent_to_others": True},
}


def failed(suspect: Suspect | None = None, **changes: object) -> FailedDownload:
    """The first download of a fresh output, that gave no file unless `suspect` says what it gave."""
    return FailedDownload(suspect, same=False, is_gone=False, attempt=1, age=MINUTE)._replace(**changes)


def evidence(**changes: object) -> OutputEvidence:
    """A host of which nothing is known."""
    quiet = OutputEvidence(
        outage=False,
        probes=0,
        arrived_since_failed=False,
        kept_seconds=None,
        arrived_since_repeat=False,
        others_failed=False,
        sent_to_others=False,
    )
    return quiet._replace(**changes)


def plan(download: FailedDownload, seen: OutputEvidence, *, draw: float = 0.5) -> tuple[str, timedelta | None]:
    return plan_next(download, seen, random=lambda: draw)


KEPT = evidence(kept_seconds=30.0)


def kept_for(length: timedelta, **changes: object) -> OutputEvidence:
    return evidence(kept_seconds=length.total_seconds(), **changes)


@pytest.mark.parametrize(
    ("download", "seen", "ends"),
    [
        pytest.param(failed(FILE), evidence(), False, id="undecodable once"),
        pytest.param(failed(FILE, same=True), KEPT, True, id="undecodable twice"),
        pytest.param(failed(FILE, same=True), KEPT._replace(outage=True), True, id="undecodable twice, in an outage"),
        pytest.param(failed(DOCUMENT, same=True), KEPT, False, id="a page twice"),
        pytest.param(failed(DOCUMENT, same=True), kept_for(SAME_FOR[DOCUMENT]), True, id="a page for long"),
        pytest.param(failed(DOCUMENT), kept_for(SAME_FOR[DOCUMENT]), False, id="another page than before"),
        pytest.param(failed(CUT, same=True), kept_for(SAME_FOR[DOCUMENT]), False, id="cut twice"),
        pytest.param(failed(CUT, same=True), kept_for(SAME_FOR[CUT]), True, id="cut for an hour"),
        pytest.param(failed(attempt=1_000), evidence(), False, id="no file, ever"),
        pytest.param(failed(is_gone=True, attempt=1_000, age=GIVE_UP_AFTER - MINUTE), evidence(), False, id="404"),
    ],
)
def test_a_job_ends_only_if_the_file_is_at_fault(download: FailedDownload, seen: OutputEvidence, ends: bool) -> None:
    code, delay = plan(download, seen)
    assert (delay is None) == ends
    assert code == (UNVERIFIED if download.suspect else FAILED)


@pytest.mark.parametrize("suspect", [DOCUMENT, CUT])
@pytest.mark.parametrize("trouble", TROUBLE)
def test_trouble_of_the_host_keeps_a_page_or_a_cut_file_from_ending_a_job(suspect: Suspect, trouble: str) -> None:
    _, delay = plan(failed(suspect, same=True), kept_for(timedelta(hours=9), **TROUBLE[trouble]))
    assert delay is not None


def test_a_page_that_came_twice_settles_once_all_others_were_served() -> None:
    vouched = KEPT._replace(arrived_since_repeat=True)
    assert is_final_without_download(DOCUMENT, vouched)
    assert not is_final_without_download(DOCUMENT, KEPT)
    assert not any(is_final_without_download(kept, vouched) for kept in (None, FILE, CUT))
    assert not any(is_final_without_download(DOCUMENT, vouched._replace(**each)) for each in TROUBLE.values())


@pytest.mark.parametrize(
    ("download", "seen", "code"),
    [
        (failed(age=GIVE_UP_AFTER), evidence(), EXPIRED),
        (failed(age=GIVE_UP_AFTER), KEPT, UNVERIFIED),
        (failed(CUT, age=GIVE_UP_AFTER), evidence(), UNVERIFIED),
        (failed(is_gone=True, age=RETENTION - MINUTE), evidence(), EXPIRED),
        (failed(is_gone=True, age=RETENTION), evidence(), GONE),
        (failed(is_gone=True, age=RETENTION), KEPT, GONE),
        (failed(age=RETENTION), evidence(), EXPIRED),
    ],
)
def test_six_days_after_completion_a_job_ends(download: FailedDownload, seen: OutputEvidence, code: str) -> None:
    assert plan(download, seen) == (code, None)


@pytest.mark.parametrize("draw", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("suspect", [FILE, DOCUMENT])
def test_a_file_that_fails_the_probe_is_fetched_again_within_a_minute(suspect: Suspect, draw: float) -> None:
    _, delay = plan(failed(suspect), evidence(), draw=draw)
    assert delay == CONFIRM_AFTER * (1 + draw)


def test_a_page_that_came_twice_waits_for_other_downloads() -> None:
    _, busy = plan(failed(DOCUMENT, same=True), KEPT._replace(arrived_since_failed=True), draw=0.0)
    _, idle = plan(failed(DOCUMENT, same=True), KEPT, draw=0.0)
    assert busy == VOUCH_AFTER
    assert idle == SAME_FOR[DOCUMENT] - timedelta(seconds=30)


@given(
    suspect=st.sampled_from([None, *Suspect]),
    same=st.booleans(),
    is_gone=st.booleans(),
    attempt=st.integers(1, 10_000),
    age=st.timedeltas(timedelta(0), timedelta(days=8)),
    draw=st.floats(0, 0.999),
    seen=st.builds(
        OutputEvidence,
        outage=st.booleans(),
        probes=st.integers(0, 1_000),
        arrived_since_failed=st.booleans(),
        kept_seconds=st.none() | st.floats(0, 700_000),
        arrived_since_repeat=st.booleans(),
        others_failed=st.booleans(),
        sent_to_others=st.booleans(),
    ),
)
def test_no_job_ends_before_six_days_unless_the_same_bytes_arrived_twice(
    suspect: Suspect | None,
    same: bool,
    is_gone: bool,
    attempt: int,
    age: timedelta,
    draw: float,
    seen: OutputEvidence,
) -> None:
    download = FailedDownload(suspect, same=same, is_gone=is_gone, attempt=attempt, age=age)
    code, delay = plan(download, seen, draw=draw)
    if age < GIVE_UP_AFTER and not (same and suspect):
        assert delay is not None
    if delay is not None:
        assert timedelta(0) <= delay <= timedelta(minutes=30)
        assert age < GIVE_UP_AFTER
    assert code in {FAILED, UNVERIFIED, EXPIRED, GONE}
