"""Stored files."""

from typing import Self

from pydantic import Field

from api.schemas.values import Shown
from models.transitions.uploads import KeptUpload
from rushes.catalog import REFERENCE


class UploadKept(Shown):
    """A stored file."""

    sha256: str
    size: int = Field(description="In bytes.")
    content_type: str = Field(description="Detected from the content, not taken from the request's header.")
    reference: str = Field(description="The address to use in jobs, as `image` or `video`.")

    @classmethod
    def of(cls, kept: KeptUpload) -> Self:
        return cls.copy_from(kept, reference=REFERENCE + kept.sha256)
