"""The account's status: one value, computed by one function, read by every interface.

The first condition that applies is the status. Each names its cause and says what to do.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlalchemy.orm import Session

from models.lifecycle import UNREACHABLE_AFTER
from models.queries.accounts.status import AccountFacts, find_account_facts

ACCOUNT = "default"
"""The name of the one account that the settings describe."""


class Condition(StrEnum):
    """What stops the account, from the first to be reported to the last."""

    PAUSED = "paused"
    KEY_REJECTED = "key_rejected"
    NO_CREDIT = "no_credit"
    RATE_LIMITED = "rate_limited"
    PROVIDER_UNREACHABLE = "provider_unreachable"
    STORE_UNUSABLE = "store_unusable"
    SPENDING_CAP = "spending_cap"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """Whether the account renders, and why not. `detail` is the last answer, without secrets."""

    condition: Condition = Condition.OK
    since: datetime | None = None
    detail: str | None = None
    next_try_at: datetime | None = None

    @property
    def is_ok(self) -> bool:
        return self.condition is Condition.OK

    @property
    def stops_submissions(self) -> bool:
        """Whether no job gets a slot until the condition ends, so that the end of the queue cannot be forecast."""
        return self.condition not in {Condition.OK, Condition.RATE_LIMITED, Condition.SPENDING_CAP}

    @property
    def stops_checks(self) -> bool:
        """Whether checks are stopped as well."""
        return self.condition in {Condition.KEY_REJECTED, Condition.PROVIDER_UNREACHABLE}

    @property
    def message(self) -> str:
        """The cause in one line."""
        parts = [
            f"{TITLES[self.condition]} ({self.detail})" if self.detail else TITLES[self.condition],
            f"since {self.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if self.since else "",
            f"next try at {self.next_try_at.astimezone(UTC):%H:%M:%S} UTC" if self.next_try_at else "",
        ]
        return ", ".join(filter(None, parts))

    @property
    def what_to_do(self) -> str:
        """The advice; empty if there is nothing to do."""
        if self.condition is Condition.PAUSED and (self.detail or "").startswith("restore"):
            return (
                "after a restore it resumes by itself once no unknown prediction may belong to one of your jobs; "
                "otherwise run `rushes account resume`"
            )
        return _ADVICE[self.condition]


OK = AccountStatus()
TITLES = {
    Condition.PAUSED: "the account is paused",
    Condition.KEY_REJECTED: "the provider rejects the key",
    Condition.NO_CREDIT: "the account has no credit",
    Condition.RATE_LIMITED: "the provider limits the rate",
    Condition.PROVIDER_UNREACHABLE: "the provider is unreachable",
    Condition.STORE_UNUSABLE: "no video can be stored",
    Condition.SPENDING_CAP: "the daily spending cap leaves too little",
    Condition.OK: "takes submissions",
}
_ADVICE = {
    Condition.PAUSED: "run `rushes account resume`",
    Condition.KEY_REJECTED: (
        "put a valid key of the same account in WAVESPEED_API_KEY and restart the workers and the API, then run "
        "`rushes account retry`"
    ),
    Condition.NO_CREDIT: "top up the account, then run `rushes account retry`",
    Condition.RATE_LIMITED: "wait; if it lasts, lower RUSHES_SUBMITS_PER_MINUTE to the account's limit",
    Condition.PROVIDER_UNREACHABLE: (
        "everything continues once it answers; if it lasts, check the network, the name lookup and the "
        "provider's status page; `rushes account retry` tries now"
    ),
    Condition.STORE_UNUSABLE: "nothing is submitted until the cause is removed; videos already bought wait",
    Condition.SPENDING_CAP: "wait for 00:00 UTC, or raise RUSHES_MAX_SPEND_PER_DAY and restart the workers",
    Condition.OK: "",
}
_REFUSALS = {
    "key": Condition.KEY_REJECTED,
    "credit": Condition.NO_CREDIT,
    "rate": Condition.RATE_LIMITED,
}


def find_account_status(session: Session, name: str) -> AccountStatus:
    """The status of the account with this name; ok before its row exists."""
    facts = find_account_facts(session, name)
    return judge_account(facts) if facts else OK


def judge_account(facts: AccountFacts) -> AccountStatus:
    """Return the status that follows from these facts."""
    if facts.paused_at is not None:
        words = ": ".join(filter(None, (facts.paused_reason, facts.paused_detail)))
        return AccountStatus(Condition.PAUSED, facts.paused_at, words)
    refusal = _REFUSALS.get(facts.back_off_reason or "") if facts.refused else None
    tries = (facts.back_off_until, facts.check_back_off_until)
    if refusal is not None:
        return AccountStatus(refusal, facts.back_off_since, facts.back_off_detail, _find_next(facts.now, tries))
    is_unsent = facts.refused and facts.back_off_reason == "unreachable"
    if facts.provider_failures >= UNREACHABLE_AFTER or is_unsent:
        sinces = (facts.provider_failing_since, facts.back_off_since if is_unsent else None)
        since = min(filter(None, sinces), default=None)
        detail = facts.provider_failure or facts.back_off_detail
        next_try_at = _find_next(facts.now, (*tries, facts.next_search_at))
        return AccountStatus(Condition.PROVIDER_UNREACHABLE, since, detail, next_try_at)
    if facts.store_problem is not None:
        return AccountStatus(Condition.STORE_UNUSABLE, detail=facts.store_problem)
    if facts.next_price is not None and facts.next_price > (facts.most_today or 0) - (facts.spent_today or 0):
        detail = f"${facts.spent_today:.2f} of ${facts.most_today:.2f} is held or spent today"
        return AccountStatus(Condition.SPENDING_CAP, None, detail, _find_midnight(facts.now))
    return OK


def _find_next(now: datetime, times: Iterable[datetime | None]) -> datetime | None:
    return min((each for each in times if each is not None and each > now), default=None)


def _find_midnight(now: datetime) -> datetime:
    return (now.astimezone(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
