"""The rules of faults: likelihood, number, and whom they concern."""

import pytest

from sandbox.wavespeed.state.faults import FAULTS, Faults, Subject, read_rule

ANYONE = Subject("submit", "a red cat")


def hits(faults: Faults, name: str, times: int, subject: Subject = ANYONE) -> int:
    return sum(faults.strike(name, subject) is not None for _ in range(times))


def test_no_fault_strikes_unless_it_was_switched_on() -> None:
    faults = Faults(1)
    assert not faults.list_active()
    assert all(faults.strike(name, ANYONE) is None for name in FAULTS)


def test_every_fault_can_be_switched_on_with_its_defaults() -> None:
    faults = Faults(1)
    for name, description in FAULTS.items():
        faults.switch_on(name, True)
        rule = faults.strike(name, ANYONE)
        assert rule is not None
        assert {key: getattr(rule, key) for key in description.particulars} == dict(description.particulars)


def test_a_probability_is_kept_in_the_long_run() -> None:
    faults = Faults(1)
    faults.switch_on("submit_504", 0.25)
    assert 420 < hits(faults, "submit_504", 2_000) < 580


def test_a_count_is_never_exceeded() -> None:
    faults = Faults(1)
    faults.switch_on("submit_504", {"count": 3})
    assert hits(faults, "submit_504", 50) == 3
    assert not faults.list_active()


@pytest.mark.parametrize(
    ("rule", "subject", "strikes"),
    [
        ({"prompt": "red"}, ANYONE, True),
        ({"prompt": "blue"}, ANYONE, False),
        ({"kind": "submit"}, ANYONE, True),
        ({"kind": "list"}, ANYONE, False),
        ({"prompt": "red"}, Subject("balance"), False),
    ],
)
def test_a_rule_concerns_whom_it_names(rule: dict[str, object], subject: Subject, strikes: bool) -> None:
    faults = Faults(1)
    faults.switch_on("outage", rule)
    assert (faults.strike("outage", subject) is not None) is strikes


def test_one_fault_does_not_change_the_luck_of_another() -> None:
    def play(with_other: bool) -> list[bool]:
        faults = Faults(5)
        faults.switch_on("submit_504", 0.5)
        if with_other:
            faults.switch_on("submit_drop", 0.5)
        luck = []
        for _ in range(50):
            faults.strike("submit_drop", ANYONE)
            luck.append(faults.strike("submit_504", ANYONE) is not None)
        return luck

    assert play(with_other=True) == play(with_other=False)


def test_a_fault_that_is_switched_off_ends() -> None:
    faults = Faults(1)
    faults.switch_on("outage", 1)
    faults.switch_on("get_5xx", 1)
    faults.switch_off("outage")
    assert list(faults.list_active()) == ["get_5xx"]
    faults.switch_off()
    assert not faults.list_active()


def test_the_list_shows_each_rule_and_how_often_it_struck() -> None:
    faults = Faults(1)
    faults.switch_on("submit_429", {"retry_after": 7})
    hits(faults, "submit_429", 2)
    assert faults.list_active() == {"submit_429": {"retry_after": 7.0, "fired": 2}}


def test_an_unknown_fault_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="submit_504"):
        read_rule("submit_505", 1)


@pytest.mark.parametrize(
    ("name", "rule", "message"),
    [
        ("submit_504", 1.5, "probability"),
        ("submit_504", "often", "probability or an object"),
        ("submit_504", {"status": 500}, "does not take status"),
        ("submit_504", {"count": 0}, "count"),
        ("get_5xx", {"status": 99}, "from 200 to 599"),
        ("get_garbage", {"form": "noise"}, "one of html, truncated, code"),
        ("download_other", {"form": "html"}, "one of noise, image, audio, text"),
        ("download_container", {"form": "mp4"}, "one of mpegts"),
        ("download_empty", {"form": "html"}, "does not take form"),
        ("download_cut", {"fraction": 1}, "fraction"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(name: str, rule: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_rule(name, rule)
