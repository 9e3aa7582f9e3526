"""What can go wrong while an output is copied, hung into the tree of `rushes.errors`.

Transient
├── DownloadFailed      the server of the output is away, slow or busy
│   └── DownloadCut     it stopped in the middle of the file
├── StorageFull         no room: an operator must make some
└── Unavailable         the storage cannot be written (read-only, no permission, broken disk)
Permanent
├── OutputExpired       the address no longer gives the file: ask the provider for a fresh one before giving up
├── OutputTooLarge      more bytes than the cap allows
└── NotAVideo           the bytes arrived and are no playable video
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from rushes.errors import Permanent, Transient, Unavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DownloadFailed(Transient):
    """The server of the output could not be reached, was too slow or answered with 408, 425, 429 or 5xx."""


class DownloadCut(DownloadFailed):
    """The connection ended before the last byte, or no bytes came for too long."""


class StorageFull(Transient):
    """The artifact storage has no room; never the job's fault."""


class OutputExpired(Permanent):
    """The output's address answers 403, 404, 410 or the like: the file is gone, or its signature has run out.

    The prediction may still list the same file under a fresh address, so this is final only when asking again gave
    nothing better.
    """


class OutputTooLarge(Permanent):
    """The output has more bytes than `DownloadLimits.largest_bytes`."""


class NotAVideo(Permanent):
    """The file arrived and cannot be played: not a video container, no picture, damaged, or ending early."""


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn an `OSError` of the file system into `StorageFull` or `Unavailable`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(
                f"the artifact storage is full ({error.strerror}); "
                "free some space or let RUSHES_ARTIFACTS_URL name a larger volume: stored files resume by themselves"
            ) from error
        raise Unavailable(f"the artifact storage cannot be written: {error.strerror or error}") from error
