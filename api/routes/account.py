"""The provider's account: its limits, health and costs, and whether it submits."""

from fastapi import APIRouter

from api import examples
from api.access import CallerDep
from api.deps import RuntimeDep
from api.openapi import answers
from api.schemas.accounts import AccountSeen
from rushes import accounts
from rushes.access.callers import OBSERVE, OPERATE

router = APIRouter(prefix="/v1/account", tags=["account"])


@router.get("", summary="Show the account", **answers(OBSERVE, 200, "The account now.", examples.ACCOUNT, 404))
def show(runtime: RuntimeDep) -> AccountSeen:
    """The held, spent and refunded amounts are sums over all predictions. 404 before a worker has started."""
    return AccountSeen.of(accounts.get_account(runtime.sessions))


@router.post(
    "/pause",
    summary="Pause the account",
    **answers(OPERATE, 200, "The account, paused.", examples.PAUSED_ACCOUNT, 404, 409),
)
def pause(runtime: RuntimeDep, caller: CallerDep) -> AccountSeen:
    """Submit nothing until the account is resumed. Jobs are still accepted, and renders are watched and stored."""
    return AccountSeen.of(accounts.pause_account(runtime.sessions, caller=caller))


@router.post(
    "/accept-store",
    summary="Accept the folder for videos",
    **answers(
        OPERATE, 200, "The account. Store workers mark the folder within seconds.", examples.ACCOUNT, 404, 409, 503
    ),
)
def accept_store(runtime: RuntimeDep, caller: CallerDep) -> AccountSeen:
    """Store videos in the current folder, although it does not contain the marker file of the previous folder.

    If the volume is only not mounted, mount it instead: Rushes does not find the earlier videos in another folder.
    """
    return AccountSeen.of(accounts.accept_store(runtime.sessions, caller=caller))


@router.post(
    "/resume",
    summary="Resume the account",
    **answers(OPERATE, 200, "The account, submitting again.", examples.ACCOUNT, 404, 409),
)
def resume(runtime: RuntimeDep, caller: CallerDep) -> AccountSeen:
    """Submit again.

    After a restore, call this only if the predictions named in `status.detail` belong to none of the jobs. If one of
    them does belong to a job, that job is bought a second time.
    """
    seen = AccountSeen.of(accounts.resume_account(runtime.sessions, caller=caller))
    runtime.waker.wake()
    return seen


@router.post(
    "/retry",
    summary="Try again now",
    **answers(OPERATE, 200, "The account, which tries again now.", examples.ACCOUNT, 404, 409),
)
def retry(runtime: RuntimeDep, caller: CallerDep) -> AccountSeen:
    """End the account's waits after failures: submissions, checks, searches and outage probes are tried again now.

    Call this after you have topped up the account or replaced the key. A paused account is refused with 409.
    """
    seen = AccountSeen.of(accounts.retry_account(runtime.sessions, caller=caller))
    runtime.waker.wake()
    return seen
