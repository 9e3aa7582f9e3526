"""Store rendered videos: outputs are copied at once, checked, and made visible in one step."""

from rushes.artifacts.download import Arrived, DownloadLimits, download_file
from rushes.artifacts.errors import DownloadFailed, NotAnAddress, OutputRefused, Suspect
from rushes.artifacts.probe import ExpectedVideo
from rushes.artifacts.publish import KeptFile, StoredVideo, UnverifiedFile, copy_kept, store_video
from rushes.artifacts.store import ArtifactStore, duplicate_name, open_store, video_name

__all__ = [
    "Arrived",
    "ArtifactStore",
    "DownloadFailed",
    "DownloadLimits",
    "ExpectedVideo",
    "KeptFile",
    "NotAnAddress",
    "OutputRefused",
    "StoredVideo",
    "Suspect",
    "UnverifiedFile",
    "copy_kept",
    "download_file",
    "duplicate_name",
    "open_store",
    "store_video",
    "video_name",
]
