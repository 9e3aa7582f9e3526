"""The workers: the Celery app, its tasks and the dispatcher."""
