"""Work happens here: Celery's app, its tasks and the dispatcher."""
