"""What kind of failure a failed prediction is."""

import pytest

from models.lifecycle import NO_OUTPUT
from rushes.wavespeed.predictions import PredictionStatus, ProviderPrediction
from rushes.wavespeed.render_failures import TASK_ERRORS, FailureClass, classify_failure


def failed(error: str = "", code: int | None = None, *, has_nsfw: bool = False) -> ProviderPrediction:
    return ProviderPrediction(id="abc", status=PredictionStatus.FAILED, error=error, error_code=code, has_nsfw=has_nsfw)


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        (1200, FailureClass.MODERATION),
        (1400, FailureClass.INPUT),
        (1401, FailureClass.INPUT),
        (1402, FailureClass.MEDIA),
        (1403, FailureClass.INPUT),
        (1405, FailureClass.INPUT),
        (5000, FailureClass.PROVIDER),
        (5003, FailureClass.PROVIDER),
        (5004, FailureClass.PROVIDER),
        (1999, FailureClass.INPUT),
        (5999, FailureClass.PROVIDER),
        (7000, FailureClass.UNKNOWN_TEXT),
    ],
)
def test_a_code_decides_whatever_the_text_says(code: int, failure: FailureClass) -> None:
    assert classify_failure(failed("what is this", code)) is failure
    if code in TASK_ERRORS:
        assert classify_failure(failed("content moderation; internal error; invalid", code)) is failure


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("Content moderation triggered", FailureClass.MODERATION),
        ("NSFW content detected", FailureClass.MODERATION),
        ("parameter prompt violates our content policy", FailureClass.MODERATION),
        ("Internal Server Error", FailureClass.PROVIDER),
        ("upstream returned HTTP 503", FailureClass.PROVIDER),
        ("HTTP 429 from the host", FailureClass.PROVIDER),
        ("task timed out", FailureClass.PROVIDER),
        ("CUDA out of memory", FailureClass.PROVIDER),
        ("failed to download input image", FailureClass.MEDIA),
        ("the image could not be fetched", FailureClass.MEDIA),
        ("duration must be one of [6, 8, 10]", FailureClass.INPUT),
        ("Invalid parameter", FailureClass.INPUT),
        ("prompt too long", FailureClass.INPUT),
        ("", FailureClass.UNKNOWN_TEXT),
        ("something went sideways", FailureClass.UNKNOWN_TEXT),
    ],
)
def test_a_failure_without_a_code_is_classified_by_its_text(text: str, failure: FailureClass) -> None:
    assert classify_failure(failed(text)) is failure


def test_an_nsfw_mark_decides_where_words_do_not() -> None:
    assert classify_failure(failed("rejected", has_nsfw=True)) is FailureClass.MODERATION


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (PredictionStatus.COMPLETED, FailureClass.NO_OUTPUT),
        (PredictionStatus.CANCELLED, FailureClass.CANCELLED),
        (PredictionStatus.DELETED, FailureClass.DELETED),
        (PredictionStatus.TIMEOUT, FailureClass.PROVIDER),
    ],
)
def test_an_end_other_than_failed_has_its_own_class(status: PredictionStatus, failure: FailureClass) -> None:
    assert classify_failure(ProviderPrediction(id="abc", status=status, error="invalid", error_code=1401)) is failure


def test_a_completion_without_a_file_has_its_code_and_is_not_repeated() -> None:
    assert FailureClass.NO_OUTPUT.value == NO_OUTPUT
    assert not FailureClass.NO_OUTPUT.is_worth_retrying


def test_only_the_providers_own_trouble_is_worth_another_try() -> None:
    assert {each for each in FailureClass if each.is_worth_retrying} == {FailureClass.PROVIDER}


@pytest.mark.parametrize(
    "prediction",
    [
        ProviderPrediction(id="abc", status=PredictionStatus.PROCESSING),
        ProviderPrediction(id="abc", status=PredictionStatus.UNKNOWN),
        ProviderPrediction(id="abc", status=PredictionStatus.COMPLETED, outputs=("https://cdn.example/a.mp4",)),
    ],
)
def test_a_prediction_that_has_not_failed_has_no_class(prediction: ProviderPrediction) -> None:
    with pytest.raises(ValueError, match="has not failed"):
        classify_failure(prediction)
