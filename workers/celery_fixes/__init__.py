"""Our changes to Celery: its consumer, its task events, Flower's login, and the threads that run next to its pool."""
