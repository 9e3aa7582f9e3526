"""The state of the farm in one line."""

from models.queries import Farm, find_farm
from models.session import transaction
from rushes.runtime import Runtime


def describe_farm(runtime: Runtime) -> str:
    """Backlog, live renders, doubts, deferrals and lag."""
    with transaction(runtime.sessions) as session:
        return format_farm(find_farm(session))


def format_farm(farm: Farm) -> str:
    """The same, of numbers at hand."""
    parts = [
        f"queued {farm.queued}",
        f"live {farm.live} of {farm.slots or 0} slots",
        f"rendering {farm.rendering}",
        f"storing {farm.storing}",
        f"in doubt {farm.unconfirmed}",
        f"over their watch window {farm.overdue_watches}",
        f"lag {max(0.0, farm.lag_seconds):.1f} s",
        f"account waits: {farm.deferred}" if farm.deferred else "account well",
    ]
    return ", ".join(parts)
