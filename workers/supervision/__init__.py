"""Whether a worker process works, and how it ends."""
