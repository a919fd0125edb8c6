"""Prints what django-celery-results has stored: a JSON array of rows."""

import json

import django
from django.apps import apps

django.setup()
rows = apps.get_model("django_celery_results", "TaskResult").objects
print(json.dumps(list(rows.values("task_id", "task_name", "periodic_task_name", "status"))))
