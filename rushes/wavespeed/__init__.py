"""The provider: its REST API, the meaning of its answers, its failures and its webhooks."""

from rushes.wavespeed.client import MAX_PAGE_SIZE, Timeouts, WaveSpeedClient
from rushes.wavespeed.errors import (
    AccountRefused,
    ConcurrencyLimited,
    InputRefused,
    KeyRefused,
    NoCredit,
    NotSent,
    PredictionNotFound,
    ProviderUnavailable,
    RateLimited,
    SignatureRefused,
    SubmitOutcomeUnknown,
    WebhookRefused,
)
from rushes.wavespeed.predictions import PredictionPage, PredictionStatus, ProviderPrediction
from rushes.wavespeed.render_failures import FailureClass, classify_failure
from rushes.wavespeed.webhooks import read_webhook, verify_webhook

__all__ = [
    "MAX_PAGE_SIZE",
    "AccountRefused",
    "ConcurrencyLimited",
    "FailureClass",
    "InputRefused",
    "KeyRefused",
    "NoCredit",
    "NotSent",
    "PredictionNotFound",
    "PredictionPage",
    "PredictionStatus",
    "ProviderPrediction",
    "ProviderUnavailable",
    "RateLimited",
    "SignatureRefused",
    "SubmitOutcomeUnknown",
    "Timeouts",
    "WaveSpeedClient",
    "WebhookRefused",
    "classify_failure",
    "read_webhook",
    "verify_webhook",
]
