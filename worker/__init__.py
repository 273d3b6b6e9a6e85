"""The Celery processes: the only place where the detector meets the store."""
