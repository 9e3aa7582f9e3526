"""The routes: dependencies, one use case, a response schema."""
