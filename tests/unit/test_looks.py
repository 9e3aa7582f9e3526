"""The leader's schedule of looks: never too early, never too many, never at a render that ended."""

from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.queries import Rendering
from rushes.looks import LONGEST_SPACING_SECONDS, Look, LookSchedule
from rushes.polling import resumed_spacing
from rushes.render_times import RenderTimes
from rushes.settings import Settings

SHORTEST = 5.0
TOLERANCE = 1e-6  # of adding up floats
NO_LIMIT = 10_000


@pytest.fixture(scope="module")
def settings() -> Settings:
    return make_settings()


def make_settings(**changes: Any) -> Settings:
    """The defaults, whatever the environment says."""
    defaults = {name: field.get_default() for name, field in Settings.model_fields.items()}
    return Settings(**(defaults | {"poll_shortest_seconds": SHORTEST} | changes))


def make_schedule(settings: Settings) -> LookSchedule:
    """A schedule that has learned nothing yet."""
    return LookSchedule(settings, RenderTimes(settings))


def rendering(*, claim: int = 1, age: float = 0.0, windows: int = 0, prediction_id: UUID | None = None) -> Rendering:
    """A render in flight."""
    return Rendering(
        prediction_id=prediction_id or uuid4(),
        job_id=uuid4(),
        claim=claim,
        age_seconds=age,
        watch_windows=windows,
        video_model="lightricks/ltx-2-pro/text-to-video",
        input={"prompt": "x", "duration": 6, "generate_audio": True},
    )


def still(*renderings: Rendering) -> Callable[[list[UUID]], dict[UUID, int]]:
    """What the database says while these render."""
    claims = {each.prediction_id: each.claim for each in renderings}
    return lambda ids: {each: claims[each] for each in ids if each in claims}


def follow(
    schedule: LookSchedule, *renderings: Rendering, start: float, until: float
) -> dict[UUID, list[tuple[float, Look]]]:
    """Take every look as soon as it is due; when each render was looked at."""
    looks: defaultdict[UUID, list[tuple[float, Look]]] = defaultdict(list)
    now = start
    while now <= until:
        for look in schedule.take_due(now=now, limit=NO_LIMIT, find_rendering=still(*renderings)):
            looks[look.prediction_id].append((now, look))
        next_at = schedule.find_next_at()
        assert next_at is not None
        now = max(next_at, now + TOLERANCE)
    return looks


def test_a_new_schedule_has_nothing_to_look_at(settings: Settings) -> None:
    schedule = make_schedule(settings)
    assert len(schedule) == 0
    assert schedule.find_next_at() is None
    assert schedule.take_due(now=1e9, limit=NO_LIMIT, find_rendering=still()) == []


@given(
    ages=st.lists(st.floats(-0.5, 5_000) | st.floats(0, 604_800), min_size=1, max_size=4),
    windows=st.integers(0, 12),
    cost=st.sampled_from([0.001, 0.5, 60.0]),
)
def test_two_looks_at_a_render_are_never_closer_than_the_shortest_spacing(
    ages: list[float], windows: int, cost: float
) -> None:
    schedule = make_schedule(make_settings(poll_cost_seconds=cost))
    renders = [rendering(age=age, windows=windows) for age in ages]
    schedule.add(renders, now=1_000.0)
    looks = follow(schedule, *renders, start=1_000.0, until=1_600.0)
    for render in renders:
        times = [1_000.0, *(at for at, _ in looks[render.prediction_id])]
        spacings = [later - earlier for earlier, later in pairwise(times)]
        assert all(spacing >= SHORTEST - TOLERANCE for spacing in spacings), spacings
        if not windows:
            late = TOLERANCE * (len(renders) + 1)  # each look at another render comes a moment later
            assert all(spacing <= LONGEST_SPACING_SECONDS + late for spacing in spacings), spacings


def test_a_look_carries_its_render_and_counts(settings: Settings) -> None:
    schedule, render = make_schedule(settings), rendering(claim=3)
    schedule.add([render], now=0.0)
    looks = [look for _, look in follow(schedule, render, start=0.0, until=600.0)[render.prediction_id]]
    assert len(looks) > 5
    assert looks == [Look(render.prediction_id, render.job_id, 3, number) for number in range(1, len(looks) + 1)]


def test_a_render_is_rarely_looked_at(settings: Settings) -> None:
    """A render that takes the prior's median time costs about as many looks as the law promises, not one per second."""
    schedule, render = make_schedule(settings), rendering()
    schedule.add([render], now=0.0)
    assert len(follow(schedule, render, start=0.0, until=100.0)[render.prediction_id]) <= 20


def test_the_limit_is_kept_and_what_is_left_stays_due(settings: Settings) -> None:
    schedule, renders = make_schedule(settings), [rendering() for _ in range(7)]
    schedule.add(renders, now=0.0)
    taken = [schedule.take_due(now=100.0, limit=3, find_rendering=still(*renders)) for _ in range(4)]
    assert [len(looks) for looks in taken] == [3, 3, 1, 0]
    assert {look.prediction_id for looks in taken for look in looks} == {each.prediction_id for each in renders}


def test_nothing_is_asked_of_the_database_while_no_look_is_due(settings: Settings) -> None:
    schedule, asked = make_schedule(settings), list[list[UUID]]()

    def find_rendering(ids: list[UUID]) -> dict[UUID, int]:
        asked.append(ids)
        return {}

    schedule.add([rendering()], now=0.0)
    assert schedule.take_due(now=SHORTEST - 1, limit=NO_LIMIT, find_rendering=find_rendering) == []
    assert schedule.take_due(now=1e6, limit=0, find_rendering=find_rendering) == []
    assert asked == []


def test_a_render_that_ended_is_forgotten(settings: Settings) -> None:
    schedule, ended, goes_on = make_schedule(settings), rendering(), rendering()
    schedule.add([ended, goes_on], now=0.0)
    looks = schedule.take_due(now=100.0, limit=NO_LIMIT, find_rendering=still(goes_on))
    assert [look.prediction_id for look in looks] == [goes_on.prediction_id]
    assert len(schedule) == 1
    assert ended.prediction_id not in follow(schedule, goes_on, start=100.0, until=700.0)


def test_a_render_under_a_claim_of_another_leader_is_forgotten_until_it_is_told_anew(settings: Settings) -> None:
    schedule, old = make_schedule(settings), rendering(claim=1)
    new = old._replace(claim=2)
    schedule.add([old], now=0.0)
    assert schedule.take_due(now=100.0, limit=NO_LIMIT, find_rendering=still(new)) == []
    assert len(schedule) == 0
    schedule.add([new], now=100.0)
    (look,) = schedule.take_due(now=200.0, limit=NO_LIMIT, find_rendering=still(new))
    assert look.claim == 2


def test_a_render_known_already_keeps_its_schedule(settings: Settings) -> None:
    schedule, render = make_schedule(settings), rendering()
    schedule.add([render], now=0.0)
    planned = schedule.find_next_at()
    schedule.add([render._replace(age_seconds=3.0)], now=3.0)
    assert schedule.find_next_at() == planned
    assert len(schedule) == 1


def test_a_changed_claim_replans_and_leaves_one_schedule(settings: Settings) -> None:
    schedule, old = make_schedule(settings), rendering(claim=1, age=600.0)
    schedule.add([old], now=0.0)
    new = old._replace(claim=2, watch_windows=1)
    schedule.add([new], now=1.0)
    looks = follow(schedule, new, start=1.0, until=301.0)[new.prediction_id]
    assert [look.claim for _, look in looks] == [2] * 10
    assert [at for at, _ in looks] == pytest.approx([1.0 + 30 * number for number in range(1, 11)])


def test_ten_windows_leave_one_schedule(settings: Settings) -> None:
    schedule, render = make_schedule(settings), rendering(claim=0, age=600.0)
    for window in range(11):
        render = render._replace(claim=window, watch_windows=window)
        schedule.add([render], now=float(window))
    looks = follow(schedule, render, start=10.0, until=10.0 + 3 * 900)[render.prediction_id]
    assert [at for at, _ in looks] == pytest.approx([10.0 + 900 * number for number in range(1, 4)])


@pytest.mark.parametrize("windows", [1, 2, 3, 6, 20])
def test_a_render_past_its_window_is_on_the_slower_schedule(settings: Settings, windows: int) -> None:
    schedule, render = make_schedule(settings), rendering(age=600.0, windows=windows)
    schedule.add([render], now=50.0)
    assert schedule.find_next_at() == pytest.approx(50.0 + resumed_spacing(windows).total_seconds())


def test_an_old_render_met_by_a_new_leader_is_not_looked_at_at_once(settings: Settings) -> None:
    schedule, render = make_schedule(settings), rendering(age=86_400.0)
    schedule.add([render], now=10.0)
    assert schedule.take_due(now=10.0 + SHORTEST - 0.1, limit=NO_LIMIT, find_rendering=still(render)) == []


def test_a_leader_that_lost_the_lead_forgets_everything(settings: Settings) -> None:
    schedule, render = make_schedule(settings), rendering()
    schedule.add([render], now=0.0)
    schedule.forget()
    assert len(schedule) == 0
    assert schedule.find_next_at() is None
    assert schedule.take_due(now=1e6, limit=NO_LIMIT, find_rendering=still(render)) == []


@pytest.mark.parametrize(
    ("video_model", "values"),
    [("studio/withdrawn", {"prompt": "x"}), ("lightricks/ltx-2-pro/text-to-video", {"prompt": "x"})],
)
def test_a_render_of_an_older_catalogue_is_watched_all_the_same(
    settings: Settings, video_model: str, values: dict[str, Any]
) -> None:
    schedule, render = make_schedule(settings), rendering()._replace(video_model=video_model, input=values)
    schedule.add([render], now=0.0)
    assert len(schedule.take_due(now=1e3, limit=NO_LIMIT, find_rendering=still(render))) == 1


def test_two_plans_for_the_same_instant_are_one_look(settings: Settings) -> None:
    schedule, old = make_schedule(settings), rendering(claim=1, windows=1)
    new = old._replace(claim=2)
    schedule.add([old], now=0.0)
    schedule.add([new], now=0.0)
    assert len(schedule.take_due(now=100.0, limit=NO_LIMIT, find_rendering=still(new))) == 1


def test_looks_that_could_not_be_asked_for_stay_due(settings: Settings) -> None:
    schedule, render = make_schedule(settings), rendering()
    schedule.add([render], now=0.0)

    def fail(_: list[UUID]) -> dict[UUID, int]:
        raise RuntimeError("the database is away")

    with pytest.raises(RuntimeError):
        schedule.take_due(now=1e6, limit=NO_LIMIT, find_rendering=fail)

    (look,) = schedule.take_due(now=1e6, limit=NO_LIMIT, find_rendering=still(render))
    assert look.prediction_id == render.prediction_id
