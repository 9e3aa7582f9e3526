"""Reading a prediction, whatever shape its fields have."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rushes.wavespeed.predictions import PredictionStatus, ProviderPrediction, read_prediction

URL = "https://cdn.example/a.mp4"


def read(**fields: object) -> ProviderPrediction:
    prediction = read_prediction({"id": "abc", "status": "completed", **fields})
    assert prediction is not None
    return prediction


def test_a_recorded_answer_is_read_in_full() -> None:
    found = read(
        model="lightricks/ltx-2-pro/text-to-video",
        outputs=[URL],
        urls={"get": "https://api.example/abc/result"},
        has_nsfw_contents=[False],
        created_at="2025-09-29T23:09:43.027Z",
        error="",
        code=0,
        executionTime=109_000,
        timings={"inference": 100_000},
        input={"prompt": "fog"},
    )
    assert found == ProviderPrediction(
        id="abc",
        status=PredictionStatus.COMPLETED,
        video_model_id="lightricks/ltx-2-pro/text-to-video",
        status_text="completed",
        outputs=(URL,),
        created_at=datetime(2025, 9, 29, 23, 9, 43, 27_000, tzinfo=UTC),
        execution_time=timedelta(seconds=109),
        inputs={"prompt": "fog"},
    )
    assert found.has_succeeded


@pytest.mark.parametrize(
    ("status", "is_terminal"),
    [
        ("created", False),
        ("pending", False),
        ("processing", False),
        ("completed", True),
        ("failed", True),
        ("cancelled", True),
        ("timeout", True),
        ("deleted", True),
        ("unknown", False),
    ],
)
def test_every_status_is_known_and_knows_whether_it_is_the_end(status: str, is_terminal: bool) -> None:
    found = read(status=status)
    assert (found.status.value, found.is_terminal) == (status, is_terminal)


def test_every_status_of_the_provider_is_listed() -> None:
    assert len(PredictionStatus) == 9


@pytest.mark.parametrize(
    ("raw", "status", "text"),
    [
        ("COMPLETED", PredictionStatus.COMPLETED, "COMPLETED"),
        (" failed ", PredictionStatus.FAILED, "failed"),
        ("canceled", PredictionStatus.CANCELLED, "canceled"),
        ("nsfw_rejected", PredictionStatus.UNKNOWN, "nsfw_rejected"),
        ("", PredictionStatus.UNKNOWN, ""),
        (None, PredictionStatus.UNKNOWN, ""),
        (3, PredictionStatus.UNKNOWN, ""),
    ],
)
def test_a_status_is_matched_leniently_and_kept_as_it_came(raw: object, status: PredictionStatus, text: str) -> None:
    found = read(status=raw)
    assert (found.status, found.status_text) == (status, text)


@pytest.mark.parametrize("digits", range(10))
def test_a_moment_may_have_0_to_9_fractional_digits(digits: int) -> None:
    fraction = "123456789"[:digits]
    found = read(created_at=f"2025-09-29T23:09:43{'.' + fraction if digits else ''}Z")
    expected = int(fraction[:6].ljust(6, "0"))
    assert found.created_at == datetime(2025, 9, 29, 23, 9, 43, expected, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["2025-09-29T23:09:43Z", "2025-09-29t23:09:43z", "2025-09-30T01:09:43+02:00", "2025-09-29 23:09:43"]
)
def test_a_moment_is_always_in_utc(text: str) -> None:
    found = read(created_at=text)
    assert found.created_at == datetime(2025, 9, 29, 23, 9, 43, tzinfo=UTC)
    assert found.created_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "value", [None, "", "yesterday", 1_700_000_000, "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00"]
)
def test_an_unreadable_moment_is_none(value: object) -> None:
    assert read(created_at=value).created_at is None


@pytest.mark.parametrize(
    ("outputs", "urls"),
    [
        ([URL], (URL,)),
        ([{"url": URL, "type": "video"}], (URL,)),
        (URL, (URL,)),
        ({"url": URL}, (URL,)),
        ([URL, None, 3, "", " ", {"uri": URL}, "https://a\nb"], (URL,)),
        ([], ()),
        (None, ()),
        ({}, ()),
    ],
)
def test_outputs_may_be_strings_objects_or_null(outputs: object, urls: tuple[str, ...]) -> None:
    found = read(outputs=outputs)
    assert found.outputs == urls
    assert found.has_succeeded is bool(urls)


@pytest.mark.parametrize(
    ("fields", "error", "code"),
    [
        ({"error": ""}, "", None),
        ({"error": None, "code": 0}, "", None),
        ({"error": "no", "code": 1200}, "no", 1200),
        ({"error": "no", "code": "5003"}, "no", 5003),
        ({"error": {"message": "no", "code": 1401}}, "no", 1401),
        ({"error": {"detail": "no"}, "code": True}, "no", None),
        ({"error": ["a"]}, '["a"]', None),
        ({"error": "a\x00b\ud800"}, "a b", None),
    ],
)
def test_an_error_may_be_text_or_an_object(fields: dict[str, object], error: str, code: int | None) -> None:
    found = read(**fields)
    assert (found.error, found.error_code) == (error, code)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(6710, 6.71), (0.5, 0.0005), (0, None), (-1, None), (None, None), (True, None), (1e400, None)],
)
def test_an_execution_time_is_in_milliseconds_and_unknown_at_zero(value: object, seconds: float | None) -> None:
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert read(executionTime=value).execution_time == expected


@pytest.mark.parametrize(
    ("value", "has_nsfw"),
    [([False, True], True), ([False], False), ([], False), (None, False), (True, True), ("x", False)],
)
def test_nsfw_marks_may_be_missing(value: object, has_nsfw: bool) -> None:
    assert read(has_nsfw_contents=value).has_nsfw is has_nsfw


@pytest.mark.parametrize(
    "found", [None, [], "abc", {}, {"id": ""}, {"id": None}, {"id": True}, {"id": "a b"}, {"id": "x" * 201}]
)
def test_an_answer_without_a_usable_id_is_no_prediction(found: object) -> None:
    assert read_prediction(found) is None


def test_inputs_are_not_in_the_representation() -> None:
    assert "hush" not in repr(read(inputs={"image": "https://example/?token=hush"}))


NAMES = [
    "id",
    "status",
    "model",
    "outputs",
    "error",
    "code",
    "created_at",
    "executionTime",
    "has_nsfw_contents",
    "input",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), JSON))
def test_a_field_of_any_shape_raises_nothing_and_its_text_can_be_stored(fields: dict[str, object]) -> None:
    found = read_prediction({"id": "abc", **json.loads(json.dumps(fields))}, default_id="abc")
    assert found is not None
    for text in (found.id, found.error, found.status_text, found.video_model_id, *found.outputs):
        assert "\x00" not in text
        text.encode()


@pytest.mark.parametrize("key", ["webhook", "webhook_url"])
def test_the_address_of_a_webhook_is_read_and_never_shown(key: str) -> None:
    found = read(**{key: "https://rushes.example/v1/hooks/wavespeed/a-token"})
    assert found.webhook == "https://rushes.example/v1/hooks/wavespeed/a-token"
    assert "a-token" not in repr(found)


@pytest.mark.parametrize("strange", [None, "", 3, {}, ["https://rushes.example"], "x" * 2_001])
def test_a_strange_address_of_a_webhook_is_none(strange: object) -> None:
    assert read(webhook=strange).webhook is None
