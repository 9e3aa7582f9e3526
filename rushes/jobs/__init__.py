"""The operations on jobs and batches for people and upstream systems: push, read, retry, recheck, explain a wait."""
