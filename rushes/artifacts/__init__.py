"""Storing what was rendered: outputs are copied at once, checked, and made visible in one step."""

from rushes.artifacts.download import DownloadLimits
from rushes.artifacts.errors import (
    DownloadCut,
    DownloadFailed,
    NotAVideo,
    OutputExpired,
    OutputTooLarge,
    StorageFull,
)
from rushes.artifacts.naming import poster_name, surplus_name, video_name
from rushes.artifacts.store import ArtifactStore, LocalStore, open_store
from rushes.artifacts.storing import StoredVideo, store_video
from rushes.artifacts.video import ExpectedVideo, VideoFacts

__all__ = [
    "ArtifactStore",
    "DownloadCut",
    "DownloadFailed",
    "DownloadLimits",
    "ExpectedVideo",
    "LocalStore",
    "NotAVideo",
    "OutputExpired",
    "OutputTooLarge",
    "StorageFull",
    "StoredVideo",
    "VideoFacts",
    "open_store",
    "poster_name",
    "store_video",
    "surplus_name",
    "video_name",
]
