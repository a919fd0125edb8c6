"""Messages as a tap hears them, and the executions that follow from them."""

from __future__ import annotations

from dataclasses import replace

from celery_legion.run import Record
from tests.faults.evidence import Evidence, Execution, Message
from tests.faults.sound import START
from tests.faults.workload import Grid, Planned

APART = START / 1000 - 100
"""Seconds between the clocks of this evidence: the wall clock's START is 100 on the monotonic one."""

JOBS = (Planned("tick", Grid.CLOCK, 1000, 0.1, each=True), Planned("tock", Grid.PHASE, 2000, 0.1, 250, each=True))


def a_message(record: Record) -> Message:
    wall = record.fire_time.timestamp() + 0.01
    fire = round(record.fire_time.timestamp() * 1000)
    return Message(job=record.job, run_id=str(record.id), fire=fire, wall=wall, mono=wall - APART, origin=1)


def an_execution(message: Message) -> Execution:
    wall = message.wall + 0.01
    return Execution(
        job=message.job,
        run_id=message.run_id,
        attempt=1,
        fire=message.fire or 0,
        pid=2,
        start=wall - APART,
        wall=wall,
        end=wall - APART + 0.1,
        token=1,
    )


def more(evidence: Evidence, *messages: Message) -> Evidence:
    return replace(evidence, messages=[*(evidence.messages or ()), *messages])


def first_of(evidence: Evidence) -> Message:
    assert evidence.messages
    return evidence.messages[0]
