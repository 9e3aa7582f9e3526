"""The stored data. No other package contains SQL."""

from models.lifecycle import BatchState, JobState, PredictionState
from models.tables.access import ApiKey, AuditEntry, IdempotentRequest, Scope, Tenant
from models.tables.account import Account
from models.tables.action import Action, ActionItem, ActionKind, ActionState
from models.tables.artifact import Artifact, ArtifactKind
from models.tables.base import DEFAULT_TENANT, Base, new_id
from models.tables.batch import Batch
from models.tables.callbacks.delivery import Delivery, DeliveryState
from models.tables.callbacks.endpoint import DisabledReason, Endpoint
from models.tables.event import Event
from models.tables.job import Job
from models.tables.prediction import Prediction, UnknownPrediction
from models.tables.statistics import DailyTotal, FinishedRender, LatencyBucket, StaleWrite
from models.tables.upload import JobUpload, SentUpload, Upload, UploadOwner
from models.tables.worker import Leader, Worker

__all__ = [
    "DEFAULT_TENANT",
    "Account",
    "Action",
    "ActionItem",
    "ActionKind",
    "ActionState",
    "ApiKey",
    "Artifact",
    "ArtifactKind",
    "AuditEntry",
    "Base",
    "Batch",
    "BatchState",
    "DailyTotal",
    "Delivery",
    "DeliveryState",
    "DisabledReason",
    "Endpoint",
    "Event",
    "FinishedRender",
    "IdempotentRequest",
    "Job",
    "JobState",
    "JobUpload",
    "LatencyBucket",
    "Leader",
    "Prediction",
    "PredictionState",
    "Scope",
    "SentUpload",
    "StaleWrite",
    "Tenant",
    "UnknownPrediction",
    "Upload",
    "UploadOwner",
    "Worker",
    "new_id",
]
