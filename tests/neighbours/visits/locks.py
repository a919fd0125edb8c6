"""Beside RedBeat, celery-singleton, celery-once and celery-batches: packages with a lock or a way of their own."""

from __future__ import annotations

import re
import time
from collections import Counter
from itertools import pairwise

from celery_legion.run import State
from tests.neighbours.scene import Scene, words
from tests.servers.polling import eventually


def redbeat(scene: Scene) -> None:
    """Its recurrence rules run and end, its saved entries are counted, and an old one beside is noticed by workers."""
    code, output = scene.run("-m", "tests.neighbours.apps.redbeat_entries")
    scene.expect(code == 0, f"its entries could not be saved: {output[-300:]}")
    worker = scene.worker()
    beat = scene.beat()
    scene.until("thrice", 2, 15)
    scene.main_job(beat)
    scene.fires_right("entry", 3, least=2)
    # The first of its three moments is that of its making, which beat, too, may find past.
    times = len(scene.starts("thrice"))
    scene.expect(times in (2, 3), f"a rule of three times ran {times} times")
    told = re.findall(r"(?:WARNING|ERROR).*(?:RedBeat|redbeat).*", beat.output)
    scene.expect(len(told) == 1, f"beat speaks {len(told)} times, not once, of entries that nobody schedules")
    scene.look("list", "show entry", "show thrice", "history", "locks")
    again = scene.beat()
    old = scene.processes.start(
        *(
            str(scene.python),
            "-m",
            "celery",
            "-A",
            scene.module,
            "beat",
            "-S",
            "redbeat.RedBeatScheduler",
            "--pidfile=",
        ),
        *("-l", "INFO"),
        name="redbeat",
        env=scene.env,
    )
    try:
        # A worker looks around twice a minute.
        eventually(lambda: re.search(r"WARNING.*another beat sends.*\bentry\b", worker.output), 45)
    except AssertionError:
        scene.expect(False, "the worker says nothing of a second scheduler that sends the same entry")
    old.terminate()
    scene.close_beat(again)
    scene.quiet(worker)
    # A receiver of its own takes every scheduler for a RedBeat; Celery's own beat logs the same.
    scene.quiet(beat, "acquire_distributed_beat_lock")
    scene.quiet(again, "acquire_distributed_beat_lock")


def singleton(scene: Scene) -> None:
    """A fire whose task is at work already is a skip; the others are recorded as they went."""
    worker = scene.worker()
    beat = scene.beat()
    scene.until("single", 3, 20)
    scene.main_job(beat)
    _dropped(scene, "single")
    scene.look("list", "show single", "history single")
    scene.quiet(worker)
    scene.quiet(beat)


def once(scene: Scene) -> None:
    """A fire whose task is queued already is a skip, whether the neighbour raises or says nothing."""
    worker = scene.worker()
    beat = scene.beat()
    scene.until("strict", 3, 20)
    scene.until("graceful", 3, 20)
    scene.main_job(beat)
    _dropped(scene, "strict")
    _dropped(scene, "graceful")
    scene.look("list", "show strict", "history graceful")
    scene.quiet(worker)
    scene.quiet(beat)


def batches(scene: Scene) -> None:
    """A message is executed once, its run is never lost, and its lock does not keep its job from the next fire."""
    worker = scene.worker()
    beat = scene.beat()
    scene.until("flush", 4, 30)
    # Longer than a run's lease: what was called lost would be sent again by now.
    time.sleep(10)
    scene.close_beat(beat)
    scene.standard_jobs()
    times = Counter(line["id"] for line in scene.starts("flush"))
    scene.expect(set(times.values()) == {1}, f"messages were executed {sorted(Counter(times.values()).items())} times")
    records = scene.records("flush")
    states = Counter(words(one.state.value, one.reason) for one in records)
    # A worker that cannot guard such a task may say so; it may not say that something went wrong.
    scene.expect(set(states) <= {"succeeded", "sent (unwatched)"}, f"flush is recorded as {dict(states)}")
    fires = sorted(one.fire_time.timestamp() for one in records)
    gaps = {round(later - sooner, 3) for sooner, later in pairwise(fires)}
    scene.expect(gaps == {3.0}, f"flush has gaps of {sorted(gaps)} s, not of 3 s")
    scene.expect("flush" not in {lock.name for lock in scene.store.locks()}, "flush's lock is still held")
    scene.note(f"flush: {dict(states)}")
    scene.look("list", "show flush", "history flush")
    scene.quiet(worker)
    scene.quiet(beat)


def _dropped(scene: Scene, job: str) -> None:
    """Expect skips and single executions of a job each second whose task takes 2.5 and drops what comes meanwhile."""
    records = scene.records(job)
    states = Counter(words(one.state.value, one.reason) for one in records for _ in range(one.count))
    runs = [one for one in records if one.state is State.SUCCEEDED]
    skips = sum(one.count for one in records if one.state is State.SKIPPED)
    others = {one.state for one in records} - {State.SUCCEEDED, State.SKIPPED}
    scene.expect(not others, f"{job} is recorded as {dict(states)}")
    scene.expect(skips >= 3, f"{job} has {skips} skips")
    executed = Counter(line.get("id") for line in scene.starts(job))
    scene.expect(set(executed.values()) == {1}, f"{job}: some run was executed twice, or without its run: {executed}")
    scene.expect({one.id for one in runs} == set(executed), f"{job}: {len(runs)} succeeded, {len(executed)} executed")
    scene.expect(job not in {lock.name for lock in scene.store.locks()}, f"{job}'s lock is still held")
    scene.note(f"{job}: {dict(states)}")
