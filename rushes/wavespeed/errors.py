"""What the provider's answers mean, as branches of `rushes.errors`; `answers.py` says which answer is which.

    RushesError
    ├── Refused
    │   └── WebhookRefused           not from the provider, too old, or not what it signed
    │       └── SignatureRefused     signed with another secret, or by somebody else
    ├── Transient
    │   ├── NotSent                  submit: not a byte of it left; nothing was bought
    │   ├── AccountRefused           submit and check: the account's matter, not the job's; nothing was bought
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

A submit answered with a prediction, and a check answered with the one asked for, are answers whatever the status, and
never get here (`rushes.wavespeed.predictions.find_prediction`).
"""

from datetime import timedelta
from typing import ClassVar

from rushes.errors import OutcomeUnknown, Permanent, Refused, Transient


class WebhookRefused(Refused):
    """A webhook that must not be believed."""


class SignatureRefused(WebhookRefused):
    """Its signature does not match: it is forged, or the provider's secret has changed."""


class NotSent(Transient):
    """Not a byte of the submit left this machine. `is_late` tells that its time to be sent had passed."""

    def __init__(self, message: str, *, is_late: bool = False) -> None:
        super().__init__(message)
        self.is_late = is_late


class AccountRefused(Transient):
    """The account cannot do this now; no job is at fault and nothing was bought."""

    reason: ClassVar[str]
    """One word for a machine."""


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
    """As many renders as the account may have at once are running."""

    reason = "concurrency"


class ProviderUnavailable(Transient):
    """A check got no usable answer, which says nothing about the prediction."""


class PredictionNotFound(Transient):
    """The provider knows no such prediction. A young one may not be visible yet: give it time before believing it."""


class InputRefused(Permanent):
    """The provider will not render this input; the message keeps its words."""


class SubmitOutcomeUnknown(OutcomeUnknown):
    """The submit may have been accepted and charged; it must not be repeated before it has been searched for.

    `retry_after` is the wish of an answer that told one: when to send anything else.
    """

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
