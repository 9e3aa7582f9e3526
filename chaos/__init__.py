"""`rushes chaos`: a farm of real processes, broken by a seeded plan, and the promises held against what is left."""
