"""The errors of copying an output, as branches of the tree in `rushes.errors`.

Transient
├── DownloadFailed      the output host is unreachable, slow or busy (may carry `retry_after`)
│   ├── DownloadCut     the connection ended before the last byte, or no bytes came for too long
│   ├── OutputRefused   the host answers 4xx: the file is gone or forbidden, or the link has expired
│   ├── OutputEmpty     the host answers 200 with no bytes
│   ├── OutputTooLarge  more bytes than the cap
│   └── NotAnAddress    the output, or a redirect, is not an http(s) address
├── StorageFull         no room: an operator must free some
└── Unavailable         the storage cannot be written (read-only, no permission, broken disk)
Permanent
└── NotAVideo           the bytes arrived but are not a playable video; `suspect` says who is to blame
"""

from enum import StrEnum

from rushes.errors import Permanent, Transient


class Suspect(StrEnum):
    """The likely cause of a failed probe. It says who is to blame."""

    FILE = "file"  # complete bytes in no format that we can decode: a damaged video, a still image, audio, text
    DOCUMENT = "document"  # an HTML, XML or JSON document instead of the file: probably an error page of the host
    CUT = "cut"  # a known container that ends early: probably a fault of the host


class DownloadFailed(Transient):
    """The output host could not be reached, was too slow, or gave no file."""


class DownloadCut(DownloadFailed):
    """The connection ended before the last byte, or no bytes came for too long."""


class OutputRefused(DownloadFailed):
    """The output host answers 403, 404, 410 or the like: the file is gone or forbidden, or the link has expired.

    The prediction may still list the same file under a fresh address.
    """


class OutputEmpty(DownloadFailed):
    """The output host answers with success but sends no bytes."""


class OutputTooLarge(DownloadFailed):
    """The output has more bytes than `DownloadLimits.largest_bytes`."""


class NotAnAddress(DownloadFailed):
    """The output, or a redirect on the way to it, is not an http(s) address."""


class StorageFull(Transient):
    """The artifact storage has no room. This is never the job's fault."""


class NotAVideo(Permanent):
    """The file arrived but cannot be played: not a video container, no picture, damaged, or cut short."""

    def __init__(self, message: str, *, suspect: Suspect = Suspect.FILE) -> None:
        super().__init__(message)
        self.suspect = suspect
