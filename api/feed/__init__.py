"""The event feed over HTTP: in pages, by long polling, and as a stream."""
