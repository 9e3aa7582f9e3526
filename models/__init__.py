"""The stored data. No other package contains SQL."""

from models.lifecycle import JobState, PredictionState
from models.tables.account import Account
from models.tables.action import Action, ActionItem, ActionKind, ActionState
from models.tables.artifact import Artifact, ArtifactKind
from models.tables.base import Base, new_id
from models.tables.batch import Batch
from models.tables.event import Event
from models.tables.job import Job
from models.tables.prediction import Prediction, UnknownPrediction
from models.tables.stale_write import StaleWrite
from models.tables.statistics import DailyTotal, FinishedRender
from models.tables.upload import JobUpload, SentUpload, Upload
from models.tables.worker import Leader, Worker

__all__ = [
    "Account",
    "Action",
    "ActionItem",
    "ActionKind",
    "ActionState",
    "Artifact",
    "ArtifactKind",
    "Base",
    "Batch",
    "DailyTotal",
    "Event",
    "FinishedRender",
    "Job",
    "JobState",
    "JobUpload",
    "Leader",
    "Prediction",
    "PredictionState",
    "SentUpload",
    "StaleWrite",
    "UnknownPrediction",
    "Upload",
    "Worker",
    "new_id",
]
