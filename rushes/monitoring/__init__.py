"""Checking the promises, the deadlines of batches, and the state of the queue in one line."""
