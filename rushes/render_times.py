"""How long renders take: the one door to what is known of it, whatever is behind."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from rushes.catalog import find_video_model
from rushes.polling import RenderTime, prior_for
from rushes.settings import Settings

UNKNOWN_OUTPUT_SECONDS = 6
"""For inputs from before the catalogue changed, and video models that it does not know."""


class RenderKind(NamedTuple):
    """Renders that are alike in how long they take; lengths that are no whole seconds are rounded."""

    video_model: str
    output_seconds: int


def find_kind(video_model: str, values: Mapping[str, Any]) -> RenderKind:
    """The kind of a render, by its normalised input."""
    model = find_video_model(video_model)
    try:
        seconds = round(model.output_seconds(values)) if model else UNKNOWN_OUTPUT_SECONDS
    except KeyError:
        seconds = UNKNOWN_OUTPUT_SECONDS
    return RenderKind(video_model, seconds)


class RenderTimes:
    """What is believed about the time that renders of each kind take: the prior, until something was learned.

    What `find` and `find_of_kind` answer may change with every `refresh`, so ask again instead of keeping it. Safe to
    use from several threads.
    """

    def __init__(self, settings: Settings) -> None:
        self._median_seconds = settings.render_median_seconds

    def find(self, video_model: str, values: Mapping[str, Any]) -> RenderTime:
        """The time that a render with this normalised input takes, from our acceptance to its completion."""
        return self.find_of_kind(find_kind(video_model, values))

    def find_of_kind(self, kind: RenderKind) -> RenderTime:
        """The same, by kind."""
        return prior_for(kind.video_model, kind.output_seconds, median_seconds=self._median_seconds)

    def refresh(self, session: Session) -> None:
        """Take in what has been learned since; cheap enough for every few seconds."""
