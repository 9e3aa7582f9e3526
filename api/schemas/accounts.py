"""The provider's account, as the API shows it."""

from typing import Self

from pydantic import Field

from api.schemas.values import Money, Shown, Time
from models.queries.storing import OutputOutage
from rushes.account_status import AccountStatus, Condition
from rushes.accounts import AccountView
from rushes.jobs.why_waiting import describe_outage


class OutputOutageSeen(Shown):
    """An outage of the output host. Downloads wait until it ends, and no job fails because of it."""

    since: Time = Field(description="When the first download failed.")
    failure: str = Field(description="How the last download failed.")
    waiting: int = Field(description="Jobs with a file still to be stored.")
    detail: str = Field(description="Message for people, with the next probe.")

    @classmethod
    def find(cls, outage: OutputOutage | None) -> Self | None:
        return None if outage is None else cls.copy_from(outage, detail=describe_outage(outage))


class StoreSeen(Shown):
    """Whether the store workers can store further videos. If none can, Rushes submits nothing."""

    problem: str | None = Field(description="Why no store worker can store further videos. Null if one can.")
    free_bytes: int | None = Field(description="Free space for videos. Null if no store worker has reported it.")


class AccountCost(Shown):
    """The cost of the account's predictions in US dollars, according to our rows."""

    held: Money = Field(description="For predictions without an outcome.")
    spent: Money = Field(description="For predictions that ended as paid.")
    refunded: Money = Field(description="For predictions that the provider accepted and then refunded.")
    duplicate: Money = Field(
        description="The part of `spent` that was paid in addition to another prediction of the same job."
    )


class AccountStatusSeen(Shown):
    """Why the account is stopped, and what to do."""

    condition: Condition
    since: Time | None
    detail: str | None = Field(
        description="The provider's last answer, the network error, or who or what paused the account."
    )
    next_try_at: Time | None = Field(description="Time of the next request; for `spending_cap`, the next 00:00 UTC.")
    message: str = Field(description="All of this in one line for people.")
    what_to_do: str

    @classmethod
    def find(cls, status: AccountStatus | None) -> Self | None:
        return None if status is None or status.is_ok else cls.copy_from(status)


class AccountSeen(Shown):
    """An account at the provider."""

    name: str
    slots: int = Field(description="Renders at once, according to the settings.")
    effective_slots: int | None = Field(
        description="A lower number, learned from the provider; null if `slots` applies."
    )
    submits_per_minute: int
    max_spend_per_day: Money | None = Field(
        description="Dollars that may be held and spent in a day of UTC. Jobs that would exceed it wait. Null: no cap."
    )
    spent_today: Money = Field(description="Held and spent for predictions of this day of UTC.")
    cost: AccountCost
    status: AccountStatusSeen | None = Field(
        description="Why the account is stopped: a pause, a rejected key, no credit, the rate limit, an unreachable "
        "provider, no usable folder for videos, the daily spending cap. Null if it is not stopped."
    )
    duplicates: int = Field(description="Predictions found after they had been marked not found or refused.")
    unknown_predictions: int = Field(
        description="Predictions that no job asked for, found in the last seven days: somebody else uses the key."
    )
    check_price: float | None = Field(
        description="Seconds of delay that each of the latest checks has ended, on average. "
        "This is `RUSHES_POLL_COST_SECONDS` while the request budget is no limit, and more while the budget is short. "
        "Null before a dispatcher has led."
    )
    outputs: OutputOutageSeen | None = Field(
        description="An outage of the host that serves finished renders; null if there is none."
    )
    store: StoreSeen
    stale_writes: dict[str, int] = Field(description="Writes that changed nothing because they came too late, by kind.")

    @classmethod
    def of(cls, view: AccountView) -> Self:
        found, status = view.summary, AccountStatusSeen.find(view.status)
        outputs, store = OutputOutageSeen.find(found.outage), StoreSeen.copy_from(found.store)
        cost = AccountCost.copy_from(found)
        return cls.copy_from(found, cost=cost, status=status, outputs=outputs, store=store)
