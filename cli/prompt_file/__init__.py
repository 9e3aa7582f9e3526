"""A prompt file, from its lines to a pushed batch."""
