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
    content_type: str = Field(description="By its content, not by the header that came with it.")
    reference: str = Field(description="The address for jobs: the value of `image` or `video`.")

    @classmethod
    def of(cls, kept: KeptUpload) -> Self:
        return cls.copy_from(kept, reference=REFERENCE + kept.sha256)
