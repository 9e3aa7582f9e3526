"""What the provider's answers mean: its errors, and the table that maps each answer to one of them.

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

import re
from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from rushes.errors import OutcomeUnknown, Permanent, Refused, RushesError, Transient
from rushes.wavespeed.envelope import Reply


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


class Call(StrEnum):
    """The kind of request."""

    SUBMIT = "submit"  # buy a prediction
    CHECK = "check"  # one prediction by its id
    ASK = "ask"  # the list, the balance, the webhook secret
    UPLOAD = "upload"  # a file: as a submit, but a lost answer buys nothing


@dataclass(frozen=True, slots=True)
class Row:
    """The error that an answer raises, for each kind of call.

    A row fits if the status is in `statuses` (None: any) and the provider's message matches `says`. With `only_json`
    the body must also be a JSON object, because a gateway's own 404 page proves nothing.
    """

    statuses: Container[int] | None
    submit: type[RushesError]
    check: type[RushesError]
    ask: type[RushesError]
    says: re.Pattern[str] | None = None
    only_json: bool = False

    def fits(self, reply: Reply, ours: str) -> bool:
        if self.statuses is not None and reply.meaning not in self.statuses:
            return False
        if self.only_json and reply.envelope is None:
            return False
        if self.says is None:
            return True
        # A message may quote our input. A prompt that mentions credit must not stop the account.
        return bool(self.says.search(reply.words)) and not self.says.search(ours)


_CREDIT = re.compile(r"insufficient (account )?(credit|balance|fund)", re.IGNORECASE)
_CONCURRENCY = re.compile(r"concurren|simultaneous|in parallel", re.IGNORECASE)

ANSWERS: tuple[Row, ...] = (
    # status                   submit              check                 any other question
    Row({400, 402, 403}, NoCredit, NoCredit, NoCredit, says=_CREDIT),
    Row({402}, NoCredit, NoCredit, NoCredit),
    Row({401, 403}, KeyRefused, KeyRefused, KeyRefused),
    Row({429}, ConcurrencyLimited, RateLimited, RateLimited, says=_CONCURRENCY),
    Row({429}, RateLimited, RateLimited, RateLimited),
    Row({400, 413, 422}, InputRefused, ProviderUnavailable, ProviderUnavailable, only_json=True),
    Row({404}, InputRefused, PredictionNotFound, ProviderUnavailable, only_json=True),
    Row(None, SubmitOutcomeUnknown, ProviderUnavailable, ProviderUnavailable),
)
"""The first row that fits decides. Sources: the provider's error pages for 200, 400, 401, 403, 429 and 500; its clients
and third parties for the rest. The status for a lack of credit is not documented anywhere."""


FILE_REFUSED = frozenset({400, 411, 413, 415, 422})
"""Statuses with which the provider's storage refuses the file of a PUT. Any other may mean an expired ticket."""


def find_row(reply: Reply, *, ours: str = "") -> Row:
    """Find the row of `ANSWERS` for a reply. `ours` is the body we sent; its text does not count as the provider's."""
    return next(row for row in ANSWERS if row.fits(reply, ours))


def error_for(call: Call, reply: Reply, *, ours: str = "") -> RushesError:
    """Return the error to raise for a reply that holds no prediction."""
    row = find_row(reply, ours=ours)
    upload = ProviderUnavailable if row.submit is SubmitOutcomeUnknown else row.submit
    kind = {Call.SUBMIT: row.submit, Call.CHECK: row.check, Call.ASK: row.ask, Call.UPLOAD: upload}[call]
    surprise = ", but without the requested data" if 200 <= reply.meaning < 300 else ""
    words = f": {reply.words}" if reply.words else ""
    return kind(f"WaveSpeed answered {reply.heading}{surprise}{words}", retry_after=reply.retry_after)
