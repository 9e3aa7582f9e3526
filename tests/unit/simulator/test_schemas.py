"""Inputs as the simulated provider sees them: its sentences, its silence about unknown keys, its prices."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes.catalog import get_video_model
from sandbox.wavespeed.handlers.submitting import complain, read_input
from sandbox.wavespeed.state.tasks import fill_in

PRO = get_video_model("ltx-2-pro")
RETAKE = get_video_model("ltx-2-retake")
VIDEO = "http://files/in.mp4"


@pytest.mark.parametrize(
    ("model", "given_input", "sentence"),
    [
        (PRO, {"prompt": "a cat"}, None),
        (PRO, {"prompt": "a cat", "duration": 10, "generate_audio": False}, None),
        (PRO, {}, "prompt is required"),
        (PRO, {"prompt": "  "}, "prompt must not be empty"),
        (PRO, {"prompt": 5}, "prompt must be a string"),
        (PRO, {"prompt": "x" * 5_001}, "prompt must be at most 5000 characters"),
        (PRO, {"prompt": "x" * 5_000}, None),
        (PRO, {"prompt": "a cat", "duration": 7}, "duration must be one of [6, 8, 10]"),
        (PRO, {"prompt": "a cat", "duration": "6"}, "duration must be an integer"),
        (PRO, {"prompt": "a cat", "duration": True}, "duration must be an integer"),
        (PRO, {"prompt": "a cat", "generate_audio": 1}, "generate_audio must be a boolean"),
        (RETAKE, {"prompt": "a cat", "end_time": 5}, "video is required"),
        (RETAKE, {"prompt": "a cat", "video": VIDEO, "end_time": 5.5}, None),
        (RETAKE, {"prompt": "a cat", "video": "in.mp4", "end_time": 5}, "video must be a URL"),
        (RETAKE, {"prompt": "a cat", "video": VIDEO, "start_time": -1, "end_time": 5}, "start_time must be at least 0"),
        (RETAKE, {"prompt": "a cat", "video": VIDEO, "end_time": float("nan")}, "end_time must be at least 0"),
        (
            RETAKE,
            {"prompt": "a cat", "video": VIDEO, "end_time": 1},
            "the region from start_time to end_time must last 2 to 16 seconds",
        ),
    ],
)
def test_the_provider_complains_of_an_invalid_input(
    model: Any, given_input: dict[str, Any], sentence: str | None
) -> None:
    assert complain(model, given_input) == sentence


def test_unknown_keys_and_nulls_count_as_left_out() -> None:
    body = {"seed": 1, "duration": None, "prompt": "a cat", "negative_prompt": "dog"}
    assert read_input(PRO, body) == {"prompt": "a cat"}


@given(st.text(max_size=50))
def test_any_text_survives_as_valid_unicode(text: str) -> None:
    given_input = read_input(PRO, {"prompt": text})
    assert given_input["prompt"].encode().decode() == given_input["prompt"]


def test_half_a_surrogate_pair_becomes_a_replacement_character() -> None:
    assert read_input(PRO, {"prompt": "a\ud83d cat 🐈"}) == {"prompt": "a\ufffd cat 🐈"}


def test_defaults_are_spelled_out_in_the_order_of_the_schema() -> None:
    spelled = fill_in(PRO, {"duration": 8, "prompt": "a cat"})
    assert list(spelled.items()) == [("prompt", "a cat"), ("duration", 8), ("generate_audio", True)]
