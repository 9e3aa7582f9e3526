"""Supervision of a worker process: whether it works, and how it ends."""
