"""What the tests of commands share: one line, one moment, and the one job that was described."""

from __future__ import annotations

from datetime import UTC, datetime

from celery_legion import Legion
from celery_legion.command import Command
from celery_legion.job import Job

NOW = datetime(2026, 3, 1, 2, tzinfo=UTC)
LINE = "pg_dump --host db --password hunter2 shop"


def only(legion: Legion) -> Job:
    [job] = [job for job in legion.jobs.values() if job.source == "code"]
    return job


def command_of(job: Job) -> Command:
    assert job.action.command is not None
    return job.action.command
