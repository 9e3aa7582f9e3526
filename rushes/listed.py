"""Whether the provider's list shows a prediction that its result page does not know."""

from datetime import datetime, timedelta

from rushes.wavespeed import ProviderUnavailable, WaveSpeedClient

MARGIN = timedelta(minutes=10)
"""To both sides of when it was accepted: clocks differ."""
PAGE_LIMIT = 100


def is_listed(client: WaveSpeedClient, provider_id: str, *, accepted_at: datetime) -> bool:
    """Read the list around this time, to the end or until it shows the id.

    Raises `AccountRefused`, and `ProviderUnavailable` also for a list that cannot be read: then nothing is known.
    """
    for page in range(1, PAGE_LIMIT + 1):
        listed = client.list_predictions(
            page=page, created_after=accepted_at - MARGIN, created_before=accepted_at + MARGIN
        )
        if any(each.id == provider_id for each in listed.items):
            return True
        if listed.unreadable:
            raise ProviderUnavailable(f"{listed.unreadable} entries of the list have no readable id")
        if listed.is_last:
            return False
    raise ProviderUnavailable(f"the list has more than {PAGE_LIMIT} pages for the time in question")
