"""The reads of the check schedule, of webhooks and of learned render times."""
