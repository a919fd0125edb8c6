"""Makes Django's tables; with ``rows`` fills django-celery-beat's: two enabled rows and one that is not."""

import sys

import django
from django.core.management import call_command


def fill() -> None:
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    minutely = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.MINUTES)
    for name, enabled in (("row-one", True), ("row-two", True), ("row-off", False)):
        PeriodicTask.objects.create(name=name, task="tick", interval=minutely, enabled=enabled)


django.setup()
call_command("migrate", verbosity=0)
if "rows" in sys.argv:
    fill()
