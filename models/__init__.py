"""What is stored, and the only place that spells SQL."""

from models.account import Account
from models.artifact import Artifact, ArtifactKind
from models.base import Base, new_id
from models.batch import Batch
from models.event import Event
from models.finished_render import FinishedRender
from models.job import Job
from models.late_write import LateWrite
from models.lifecycle import JobState, PredictionState
from models.orphan import Orphan
from models.prediction import Prediction
from models.worker import Leader, Worker

__all__ = [
    "Account",
    "Artifact",
    "ArtifactKind",
    "Base",
    "Batch",
    "Event",
    "FinishedRender",
    "Job",
    "JobState",
    "LateWrite",
    "Leader",
    "Orphan",
    "Prediction",
    "PredictionState",
    "Worker",
    "new_id",
]
