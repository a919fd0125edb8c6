"""An app whose results go to django-celery-results."""

from tests.neighbours.apps import base

app, legion = base.make(result_backend="django-db", result_extended=True, task_track_started=True)
base.add_jobs(app, legion)
