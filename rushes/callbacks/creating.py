"""Turn events into deliveries, in the order of the event feed. Only the leader does this; two at once do no harm."""

import time

from models import queries, transitions
from models.db.session import one_statement
from rushes.callbacks.schedule import GIVE_UP
from rushes.events.horizon import Horizon
from rushes.runtime import Runtime

EVENTS_AT_ONCE = 1_000
CREATE_SECONDS = 0.1
"""How long a turn of the leader may create deliveries. Submissions wait meanwhile."""


def create_deliveries(runtime: Runtime, horizon: Horizon) -> bool:
    """Create the deliveries of the events that the feed has reached. Returns whether some are left for later."""
    give_up = GIVE_UP * runtime.settings.callback_time_scale
    until = horizon.advance()
    ends_at = time.monotonic() + CREATE_SECONDS
    while time.monotonic() < ends_at:
        with one_statement(runtime.sessions) as session:
            place = queries.wanted_events.find_position(session)
            after = max(place.last_id, place.wanted_after or 0)
            if place.wanted_after is None or after >= until:
                return False
            end = queries.feed.find_scan_end(session, after=after, until=until, most=EVENTS_AT_ONCE)
            wanted = queries.wanted_events.list_wanted(session, after=after, until=end)
            transitions.deliveries.create_deliveries(session, wanted, last_id=place.last_id, until=end, give_up=give_up)
    return True
