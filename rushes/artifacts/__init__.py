"""Store rendered videos: outputs are copied at once, checked, and made visible in one step."""

from rushes.artifacts.download import Arrived, DownloadLimits, download_file
from rushes.artifacts.errors import (
    DownloadCut,
    DownloadFailed,
    NotAnAddress,
    NotAVideo,
    OutputEmpty,
    OutputRefused,
    OutputTooLarge,
    StorageFull,
    Suspect,
)
from rushes.artifacts.naming import duplicate_name, poster_name, unverified_name, video_name
from rushes.artifacts.probe import ExpectedVideo, VideoFacts
from rushes.artifacts.save import Fetch, KeptFile, StoredVideo, UnverifiedFile, copy_kept, store_video
from rushes.artifacts.store import ArtifactStore, LocalStore, open_store

__all__ = [
    "Arrived",
    "ArtifactStore",
    "DownloadCut",
    "DownloadFailed",
    "DownloadLimits",
    "ExpectedVideo",
    "Fetch",
    "KeptFile",
    "LocalStore",
    "NotAVideo",
    "NotAnAddress",
    "OutputEmpty",
    "OutputRefused",
    "OutputTooLarge",
    "StorageFull",
    "StoredVideo",
    "Suspect",
    "UnverifiedFile",
    "VideoFacts",
    "copy_kept",
    "download_file",
    "duplicate_name",
    "open_store",
    "poster_name",
    "store_video",
    "unverified_name",
    "video_name",
]
