"""The routes. Each one has dependencies, one use case and a response schema."""
