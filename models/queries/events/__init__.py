"""The event feed: what happened to all jobs, in an order that misses nothing."""
