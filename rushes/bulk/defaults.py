"""What the jobs of a batch take if they do not set it themselves."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from rushes.catalog import describe_unknown, find_video_model
from rushes.errors import InvalidInput, Problem
from rushes.jobs.own_values import find_unstorable
from rushes.jobs.pushing import MAX_ATTEMPTS, PRIORITY_LIMIT

DEFAULTS_BYTES = 65_536


class JobDefaults(BaseModel):
    """What jobs take if they do not set it themselves."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: Annotated[str | None, Field(max_length=200)] = None
    input: Annotated[dict[str, Any] | None, Field(description="A job's own values replace these, one by one.")] = None
    priority: Annotated[int | None, Field(ge=-PRIORITY_LIMIT, le=PRIORITY_LIMIT)] = None
    max_attempts: Annotated[int | None, Field(ge=1, le=MAX_ATTEMPTS)] = None

    def as_values(self) -> dict[str, Any]:
        """Return the values that are set."""
        return self.model_dump(exclude_none=True)


def check_defaults(defaults: JobDefaults) -> dict[str, Any]:
    """Return values that can be stored. Their fit to a video model is checked with each job. Raises `InvalidInput`."""
    values = defaults.as_values()
    if defaults.model is not None and find_video_model(defaults.model) is None:
        raise InvalidInput([Problem("defaults.model", describe_unknown(defaults.model))])
    if reason := find_unstorable(values):
        raise InvalidInput([Problem("defaults.input", reason)])
    if len(json.dumps(values)) > DEFAULTS_BYTES:
        raise InvalidInput([Problem("defaults", f"must have at most {DEFAULTS_BYTES:,} bytes as JSON")])
    return values


def fill_in(given: object, defaults: Mapping[str, Any]) -> object:
    """Return a job's fields with the defaults for those that it does not have."""
    if not defaults or not isinstance(given, dict):
        return given
    filled = {**defaults, **given}
    if isinstance(filled.get("input"), dict):
        filled["input"] = {**defaults.get("input", {}), **filled["input"]}
    return filled
