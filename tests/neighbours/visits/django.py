"""Beside django-celery-beat, django-celery-results and django-structlog."""

from __future__ import annotations

import re
from collections import Counter

from tests.neighbours.scene import Scene, read_json
from tests.servers.polling import eventually

ROWS = "tests.neighbours.apps.django_rows"


def django_celery_beat(scene: Scene) -> None:
    """Its schedules run as objects, its enabled rows are counted once, and commands run beside its old descriptions."""
    code, output = scene.run("-m", ROWS, "rows")
    scene.expect(code == 0, f"its tables could not be filled: {output[-300:]}")
    worker = scene.worker()
    beat = scene.beat()
    scene.until("once", 1, 10)
    scene.main_job(beat)
    scene.expect(len(scene.starts("once")) == 1, f"a clocked schedule ran {len(scene.starts('once'))} times, not once")
    told = re.findall(r"(?:WARNING|ERROR).*(?:django-celery-beat|django_celery_beat|PeriodicTask).*", beat.output)
    scene.expect(len(told) == 1, f"beat speaks {len(told)} times, not once, of rows that nobody schedules")
    scene.expect(not told or re.search(r"\b(2|two)\b", told[0]), f"beat does not say that it is two rows: {told}")
    scene.look("list", "show zoned", "show once", "history", "locks", "logs echo")
    scene.quiet(worker)
    scene.quiet(beat)


def django_celery_results(scene: Scene) -> None:
    """Each run is a row of its, with the job's name as the periodic task's."""
    code, output = scene.run("-m", ROWS)
    scene.expect(code == 0, f"its tables could not be made: {output[-300:]}")
    worker = scene.worker()
    scene.main_job(scene.beat())
    code, output = scene.run("-m", "tests.neighbours.apps.django_result_rows")
    rows = {row["task_id"]: row for row in read_json(output)} if code == 0 else {}
    scene.expect(code == 0, f"its rows cannot be read: {output[-300:]}")
    for job in ("tick", "again", "echo"):
        found = [rows.get(run.id or "") for run in scene.runs(job)]
        said = Counter((row["periodic_task_name"], row["status"]) if row else "no row" for row in found)
        scene.expect(set(said) == {(job, "SUCCESS")}, f"rows of {job}: {dict(said)}")
    scene.note(f"{len(rows)} rows")
    scene.look("list", "show tick", "history")
    scene.quiet(worker)


def django_structlog(scene: Scene) -> None:
    """Its receivers hear of every step of a run, an interrupt too, and none of them raises."""
    scene.run("-m", ROWS)
    worker = scene.worker()
    beat = scene.beat()
    scene.commands("push long --no-wait")
    scene.until("long", 1, 15)
    code, output = scene.legion("interrupt", "long")
    scene.expect(code == 0, f"`legion interrupt long` ends with {code}: {output[-300:]}")
    scene.main_job(beat)
    said = Counter(re.findall(r'"event": "(task_\w+)"', worker.output))
    for event in ("task_started", "task_succeeded", "task_retrying"):
        scene.expect(said[event], f"it has not logged {event}")
    ended = {run.state.value for run in scene.runs("long")}
    scene.expect(ended == {"interrupted"}, f"the interrupted run is recorded as {sorted(ended)}")
    try:
        eventually(lambda: '"event": "task_revoked"' in worker.output, 5)
    except AssertionError:
        scene.expect(False, "it has not logged task_revoked for an interrupted run")
    scene.note(", ".join(f"{count} {event}" for event, count in sorted(said.items())))
    scene.quiet(worker, r"Terminated|SystemExit")
    scene.quiet(beat)
