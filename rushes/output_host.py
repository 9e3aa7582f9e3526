"""The output host as people see it: one sentence for every surface."""

from models.queries import OutputOutage


def describe_outage(outage: OutputOutage) -> str:
    """What happened, why, and what follows."""
    probe = f"the next probe is in {max(0.0, outage.next_probe_seconds):.0f} s"
    return (
        f"every download has failed for {outage.seconds:,.0f} s ({outage.failure}); {outage.waiting:,} job(s) wait, "
        f"one download at a time probes the output host, and {probe}"
    )
