"""The video models on offer."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from api.schemas.values import Money, Shown


class ParameterOffered(Shown):
    """One parameter of a video model's input."""

    name: str
    kind: Literal["text", "url", "integer", "number", "flag"]
    about: str
    required: bool
    default: Any = Field(description="The value sent if the parameter is not given; null if it is required.")
    choices: list[int] = Field(description="All allowed values; empty if any value is allowed.")


class VideoModelOffered(Shown):
    """A video model as the provider sells it."""

    id: str
    name: str = Field(description="Short name; accepted wherever the id is.")
    about: str
    price_per_second: Money = Field(description="US dollars per second of video.")
    width: int
    height: int
    parameters: list[ParameterOffered]


class Catalog(BaseModel):
    """Every video model on offer."""

    models: list[VideoModelOffered]
