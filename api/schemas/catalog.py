"""The video models on offer."""

from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from api.schemas.values import Money
from rushes.catalog import Parameter, VideoModel


class ParameterOffered(BaseModel):
    """One parameter of a video model's input."""

    name: str
    kind: Literal["text", "url", "integer", "number", "flag"]
    about: str
    required: bool
    default: Any = Field(description="The value sent if the parameter is not given; null if it is required.")
    choices: list[int] = Field(description="All allowed values; empty if any value is allowed.")

    @classmethod
    def of(cls, parameter: Parameter) -> Self:
        return cls(
            name=parameter.name,
            kind=parameter.kind,
            about=parameter.about,
            required=parameter.required,
            default=parameter.default,
            choices=list(parameter.choices),
        )


class VideoModelOffered(BaseModel):
    """A video model as the provider sells it."""

    id: str
    name: str = Field(description="Short name; accepted wherever the id is.")
    about: str
    price_per_second: Money = Field(description="US dollars per second of video.")
    width: int
    height: int
    parameters: list[ParameterOffered]

    @classmethod
    def of(cls, model: VideoModel) -> Self:
        return cls(
            id=model.id,
            name=model.name,
            about=model.about,
            price_per_second=model.price_per_second,
            width=model.width,
            height=model.height,
            parameters=[ParameterOffered.of(each) for each in model.parameters],
        )


class Catalog(BaseModel):
    """Every video model on offer."""

    models: list[VideoModelOffered]
