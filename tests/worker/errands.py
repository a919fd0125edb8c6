"""What the app without tasks discovers."""

from __future__ import annotations

from celery_legion import Legion, current_run
from tests.worker.taskless import app


def sweep() -> None:
    run = current_run()
    assert run is not None and run.job == "sweep"


def stumble() -> None:
    raise ValueError("no luck")


legion = Legion(app)
legion.call(sweep).name("sweep").yearly()
legion.call(lambda: print("heard")).name("lambda").yearly().capture_output()
legion.call(stumble).name("stumble").yearly()
legion.command("exit 3").name("line").yearly()
