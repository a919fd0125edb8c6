"""The store is killed and comes back: nothing runs unguarded meanwhile, everything runs once afterwards."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest

from celery_legion.embedded import EmbeddedValkey
from celery_legion.run import State
from tests.servers.polling import eventually
from tests.worker.trial import Trial

pytestmark = pytest.mark.e2e

AWAY = 20.0
RUNS = 30


@pytest.fixture
def server() -> Iterator[EmbeddedValkey]:
    """A store's server apart from the broker, which the test may kill and bring back."""
    with EmbeddedValkey() as server:
        yield server


def test_workers_outlive_a_store_that_is_away_for_twenty_seconds(
    new_trial: Callable[..., Trial], server: EmbeddedValkey
) -> None:
    trial = new_trial(store_url=server.url())
    prefork, threads = trial.worker("-c", "2"), trial.worker("-P", "threads", "-c", "2", queue="threads")
    trial.worker("-c", "1", queue="spawned", TRIAL_BILLIARD="spawn")
    ending = [trial.run("work", {"seconds": 3}), trial.run("again", {"times": 1, "countdown": 0.5})]
    inside = trial.run("work", {"seconds": 3}, queue="threads")
    spawned = trial.run("work", {"seconds": 3}, queue="spawned")
    for run in (*ending, inside, spawned):
        trial.started(run)
    messages = [trial.claim() for _ in range(RUNS)]
    server.kill()
    gone = time.time()
    for number, (run, headers) in enumerate(messages):
        for _ in range(2):
            trial.send("work", run, headers, queue="threads" if number % 2 else "celery")
    plain = trial.client.send_task("tests.worker.app.plain")
    # A task without a header is none of the store's business.
    assert plain.get(timeout=10) is True
    time.sleep(max(0.0, gone + AWAY - time.time()))
    assert not {line["id"] for line in trial.lines(event="start")} & {run for run, _ in messages}
    assert prefork.alive
    assert threads.alive
    server.start()
    back = time.time()
    runs = [run for run, _ in messages]
    trial.all_ended([*runs, *ending, inside, spawned], State.SUCCEEDED, 20)
    assert trial.count("start") == {**dict.fromkeys([*runs, ending[0], inside, spawned], 1), ending[1]: 2}
    eventually(lambda: not trial.locked(), 5, "the locks")
    took = max(line["at"] for line in trial.lines(event="end")) - back
    print(json.dumps({"runs": len(runs), "seconds after the return": round(took, 1)}))
    assert "Unrecoverable" not in trial.logs()


def test_a_worker_starts_and_stops_without_its_store(new_trial: Callable[..., Trial], server: EmbeddedValkey) -> None:
    trial = new_trial(store_url=server.url())
    run, headers = trial.claim()
    server.kill()
    worker = trial.worker("-c", "1")
    trial.send("work", run, headers)
    eventually(lambda: "No run begins for now" in worker.output, 10, "the warning")
    assert worker.terminate(20) == 0
    server.start()
    trial.worker("-c", "1")
    assert trial.ended(run).state is State.SUCCEEDED
    assert trial.count("start") == {run: 1}
