"""What we change in Celery: its consumer, its task events, and the threads that live beside its pool."""
