"""The arithmetic of slots and of the rate limit, for any account."""

from hypothesis import given
from hypothesis import strategies as st

from models.transitions.admission import AccountRoom

COUNTS = st.integers(0, 50)


@st.composite
def rooms(draw: st.DrawFn) -> AccountRoom:
    live = draw(COUNTS)
    submitting = draw(st.integers(0, live))
    return AccountRoom(
        is_held=draw(st.booleans()),
        slots=draw(st.integers(1, 50)),
        effective_slots=draw(st.none() | st.integers(1, 50)),
        probes=draw(st.booleans()),
        overcommit=draw(st.integers(0, 10)),
        rate_slots=draw(COUNTS),
        back_offs=draw(st.integers(0, 3)),
        live=live,
        stuck=draw(st.integers(0, live - submitting)),
        submitting=submitting,
        posting=draw(st.integers(0, submitting)),
    )


@given(rooms())
def test_renders_in_slots_never_exceed_the_slots_and_the_overcommit(room: AccountRoom) -> None:
    if room.free:
        assert room.live - room.stuck + room.free <= room.slots + room.overcommit


@given(rooms())
def test_a_learned_limit_holds_but_for_one_probe(room: AccountRoom) -> None:
    if room.free and room.effective_slots is not None:
        assert room.live + room.free <= room.effective_slots + room.probes + room.overcommit


@given(rooms(), COUNTS)
def test_an_admission_fits_the_slots_the_rate_limit_and_the_queue(room: AccountRoom, queue_room: int) -> None:
    admitted = room.count_admissible(queue_room)
    assert 0 <= admitted <= min(room.free, room.rate_slots, queue_room)
    if admitted:
        assert room.submitting - room.posting + admitted <= room.rate_slots


@given(rooms())
def test_a_refused_account_makes_one_submission_at_a_time(room: AccountRoom) -> None:
    if room.back_offs:
        assert room.posting + room.submits <= max(room.posting, 1)
        assert room.submitting + room.count_admissible(50) <= max(room.submitting, 1)


@given(rooms())
def test_a_held_account_admits_and_submits_nothing(room: AccountRoom) -> None:
    if room.is_held:
        assert (room.free, room.submits, room.count_admissible(50)) == (0, 0, 0)
