"""Our changes to Celery: its consumer, its task events, and the threads that run next to its pool."""
