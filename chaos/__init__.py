"""`rushes chaos`: break a farm of real processes by a seeded plan, then check every promise against the result."""
