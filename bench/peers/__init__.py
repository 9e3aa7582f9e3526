"""The other contestants of the performance page: each is a separate process, written in the usual way."""
