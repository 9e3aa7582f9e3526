"""Many jobs at once: open batches, and jobs that arrive as lines of JSON."""
