"""Why a finished prediction has nothing to fetch, and whether the same input deserves another try.

The codes and the rule "1xxx: change the request, 5xxx: try again" are from the provider's error-code page. Many
failures carry only text, so the text decides if there is no code.
"""

import re
from collections.abc import Mapping
from enum import StrEnum

from rushes.wavespeed.predictions import PredictionStatus, ProviderPrediction


class FailureClass(StrEnum):
    """The kind of failure."""

    MODERATION = "moderation"  # the provider will not show this; it promises no refund
    INPUT = "input"  # the request is wrong
    MEDIA = "media"  # the image or video given could not be fetched
    PROVIDER = "provider"  # the provider's own fault: refunded, worth another try
    NO_OUTPUT = "no_output"  # completed, but with nothing to fetch: a person must check
    CANCELLED = "cancelled"  # somebody stopped it on the provider's side
    DELETED = "deleted"  # somebody removed it on the provider's side
    UNKNOWN_TEXT = "unknown_text"  # failed with a text that is not mapped yet

    @property
    def is_worth_retrying(self) -> bool:
        """True only for failures that the provider calls its own fault. Its SDK makes the same distinction."""
        return self is FailureClass.PROVIDER


TASK_ERRORS: Mapping[int, FailureClass] = {
    1200: FailureClass.MODERATION,  # content moderation
    1400: FailureClass.INPUT,  # parameter missing
    1401: FailureClass.INPUT,  # parameter invalid
    1402: FailureClass.MEDIA,  # media could not be fetched
    1403: FailureClass.INPUT,  # task execution failed: fix the request
    1405: FailureClass.INPUT,  # task failed: fix the request
    5000: FailureClass.PROVIDER,  # internal error
    5003: FailureClass.PROVIDER,  # service unavailable
    5004: FailureClass.PROVIDER,  # timeout
}
"""The provider's table of codes."""

_STATUSES = {
    PredictionStatus.COMPLETED: FailureClass.NO_OUTPUT,
    PredictionStatus.CANCELLED: FailureClass.CANCELLED,
    PredictionStatus.DELETED: FailureClass.DELETED,
    PredictionStatus.TIMEOUT: FailureClass.PROVIDER,
}

_FAMILIES = ((range(1_000, 2_000), FailureClass.INPUT), (range(5_000, 6_000), FailureClass.PROVIDER))

_MEDIUM = r"(image|video|audio|media|url|file)"
_FETCH = r"(fetch|download|load|open|decod|reach)\w*"
_WORDS: tuple[tuple[FailureClass, str], ...] = (
    (FailureClass.MODERATION, r"moderat|nsfw|safety (check|filter|system)"),
    (FailureClass.MODERATION, r"content polic|sensitive content|prohibited|flagged"),
    (FailureClass.PROVIDER, r"HTTP 5\d\d|HTTP 429|internal (server )?error|unavailable|timed? ?out"),
    (FailureClass.PROVIDER, r"overload|out of memory|try again"),
    (FailureClass.MEDIA, rf"{_FETCH} .{{0,40}}{_MEDIUM}|{_MEDIUM} .{{0,40}}{_FETCH}"),
    (FailureClass.INPUT, r"invalid|must be|is required|missing|parameter|(un|not )supported"),
    (FailureClass.INPUT, r"too (long|short|large|small)"),
)
"""The order matters: a moderation message may also mention parameters."""


def classify_failure(prediction: ProviderPrediction) -> FailureClass:
    """Classify the failure of a prediction that ended without success.

    The status decides first, then the code, the code's family, and the text. Raises `ValueError` for a prediction that
    is not over or that has succeeded.
    """
    if not prediction.is_terminal or prediction.has_succeeded:
        raise ValueError(f"prediction {prediction.id} is {prediction.status}: it has not failed")
    if failure := _STATUSES.get(prediction.status):
        return failure
    return _by_code(prediction.error_code) or _by_text(prediction)


def _by_code(code: int | None) -> FailureClass | None:
    if code is None:
        return None
    family = (failure for codes, failure in _FAMILIES if code in codes)
    return TASK_ERRORS.get(code) or next(family, None)


def _by_text(prediction: ProviderPrediction) -> FailureClass:
    found = (failure for failure, words in _WORDS if re.search(words, prediction.error, re.IGNORECASE))
    unmapped = FailureClass.MODERATION if prediction.has_nsfw else FailureClass.UNKNOWN_TEXT
    return next(found, unmapped)
