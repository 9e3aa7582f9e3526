"""Check the guarantees and the deadlines of batches, and describe the queue in one line."""
