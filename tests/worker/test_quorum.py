"""Quorum queues, whose prefetch count belongs to each consumer: messages that wait keep no others away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from celery_legion.run import Kind, State
from celery_legion.stores.base import Ticket
from tests.conftest import missing
from tests.servers.polling import eventually
from tests.servers.rabbitmq import NoRabbitError, RabbitMQ
from tests.worker.trial import Trial

pytestmark = pytest.mark.e2e

HELD = 4
LEASE = timedelta(seconds=60)


@pytest.fixture(scope="module")
def rabbit() -> Iterator[RabbitMQ]:
    try:
        with RabbitMQ() as rabbit:
            yield rabbit
    except NoRabbitError as exc:
        missing(str(exc))


def held_elsewhere(trial: Trial) -> tuple[str, dict[str, Any]]:
    """Claim a run and let another worker, which does not answer any more, begin it."""
    run, headers = trial.claim()
    record = trial.record(run)
    trial.store.begin(
        Ticket(
            id=run,
            job=record.job,
            fire_time=record.fire_time,
            kind=Kind.SCHEDULED,
            worker="gone@trial",
            retries=0,
            redelivered=False,
            late=True,
            lock=record.job,
            limit=1,
            lease=LEASE,
            asker="gone",
        )
    )
    return run, headers


def test_messages_of_a_dead_workers_runs_do_not_starve_one_with_a_prefetch_count_of_one(
    new_trial: Callable[..., Trial], rabbit: RabbitMQ
) -> None:
    trial = new_trial(broker=rabbit.url(), prefetch=1, env={"TRIAL_QUORUM": "1"})
    trial.client.conf.task_default_queue_type = "quorum"
    worker = trial.worker("-c", "1")
    held = [held_elsewhere(trial) for _ in range(HELD)]
    for run, headers in held:
        trial.send("late", run, headers)
    eventually(lambda: f"[{held[-1][0]}] received" in worker.output, 10, "the last of those that wait")
    first, second = trial.run("work", {"seconds": 0.5}), trial.run("work")
    trial.all_ended([first, second], State.SUCCEEDED, 10)
    assert {trial.record(run).worker for run, _ in held} == {"gone@trial"}
    assert worker.terminate(20) == 0
