"""The provider's errors, as branches of `rushes.errors`. `answers.py` maps each answer to one of them.

    RushesError
    ├── Refused
    │   └── WebhookRefused           not from the provider, too old, or changed after it was signed
    │       └── SignatureRefused     signed with another secret, or by somebody else
    ├── Transient
    │   ├── NotSent                  submit: not a byte left; nothing was bought
    │   ├── AccountRefused           submit and check: a problem of the account, not of the job; nothing was bought
    │   │   ├── KeyRefused           the key is wrong, suspended or lacks the role
    │   │   ├── NoCredit             the account has no money left
    │   │   ├── RateLimited          too many requests this minute
    │   │   └── ConcurrencyLimited   too many renders at once
    │   ├── ProviderUnavailable      check: no usable answer; ask again
    │   └── PredictionNotFound       check: no such prediction, or not yet
    ├── Permanent
    │   └── InputRefused             submit: the provider will not render this input; nothing was bought
    └── OutcomeUnknown
        └── SubmitOutcomeUnknown     submit: it may have been bought; check before anything else

If a submit returns a prediction, or a check returns the requested prediction, no error is raised, whatever the status
(`rushes.wavespeed.predictions.find_prediction`).
"""

from datetime import timedelta
from typing import ClassVar

from rushes.errors import OutcomeUnknown, Permanent, Refused, Transient


class WebhookRefused(Refused):
    """A webhook that must not be believed."""


class SignatureRefused(WebhookRefused):
    """The signature does not match: the webhook is forged, or the provider's secret has changed."""


class NotSent(Transient):
    """Not a byte of the submit left this machine. `is_late` is set if the time to send it had passed."""

    def __init__(self, message: str, *, is_late: bool = False) -> None:
        super().__init__(message)
        self.is_late = is_late


class AccountRefused(Transient):
    """The account cannot do this now; no job is at fault and nothing was bought."""

    reason: ClassVar[str]
    """One machine-readable word."""


class KeyRefused(AccountRefused):
    """The key is missing, wrong, suspended or lacks the role."""

    reason = "key"


class NoCredit(AccountRefused):
    """The account has no money left."""

    reason = "credit"


class RateLimited(AccountRefused):
    """Too many requests in this minute; the provider's limits reset each minute."""

    reason = "rate"


class ConcurrencyLimited(AccountRefused):
    """The account already runs its maximum number of renders."""

    reason = "concurrency"


class ProviderUnavailable(Transient):
    """A check got no usable answer. This says nothing about the prediction."""


class PredictionNotFound(Transient):
    """The provider knows no such prediction. A new one may not be visible yet: allow some time before believing it."""


class InputRefused(Permanent):
    """The provider will not render this input. The message keeps the provider's text."""


class SubmitOutcomeUnknown(OutcomeUnknown):
    """The submit may have been accepted and charged. Do not repeat it before searching for it.

    `retry_after` is how long to wait before sending anything else, if the answer said so.
    """

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
