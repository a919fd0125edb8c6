"""The end of a scenario reads messages and faults, and tells a peer's fires by their time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.faults import ending
from tests.faults.sound import START, moment
from tests.faults.workload import Grid, Planned
from tests.servers.arrival import Arrival

TENS = (Planned("a", Grid.CLOCK, 10_000, 0.0), Planned("b", Grid.CLOCK, 10_000, 0.0))


def an_arrival(job: str, wall: float, **fields: Any) -> Arrival:
    known = Arrival(
        at=moment(wall),
        monotonic=0.0,
        queue="celery",
        task="faults.work",
        id=f"{job} {wall}",
        args=[job, 0.01],
        kwargs={},
        pid=1,
        redelivered=False,
        headers={},
    )
    return replace(known, **fields)


def three_periods() -> list[Arrival]:
    return [an_arrival(job.name, START + 10_000 * n + 30) for n in range(4) for job in TENS]


def told_of(rows: list[Arrival], until: int = START + 40_000) -> dict[str, Any]:
    told = ending.told_by_time(rows, TENS, until)
    return {name: told[name] for name in ("slots", "messages", "lost", "doubled")}


def test_a_peers_fires_are_told_by_their_time() -> None:
    told = ending.told_by_time(three_periods(), TENS, START + 40_000)

    assert told_of(three_periods()) == {"slots": 6, "messages": 8, "lost": 0, "doubled": 0}
    assert told["lateness_s"] == {"n": 6, "p50": 0.03, "p95": 0.03, "p99": 0.03, "max": 0.03}


def test_a_peers_missing_message_is_lost_and_a_second_one_doubled() -> None:
    rows = [row for row in three_periods() if row.id != f"a {START + 20_030}"]
    rows.append(an_arrival("b", START + 14_000))
    told = ending.told_by_time(rows, TENS, START + 40_000)

    assert told["witnesses"] == {"lost": [f"a at {START + 20_000}"], "doubled": [f"b at {START + 10_000}: 2 messages"]}
    assert told_of(rows) == {"slots": 6, "messages": 8, "lost": 1, "doubled": 1}


def test_a_peers_job_that_never_fires_is_lost_each_time() -> None:
    assert told_of([row for row in three_periods() if row.args == ["a", 0.01]])["lost"] == 3


def test_a_peers_message_a_moment_early_is_of_the_next_fire() -> None:
    rows = [row for row in three_periods() if row.id != f"a {START + 20_030}"]

    assert told_of([*rows, an_arrival("a", START + 19_990)]) == {"slots": 6, "messages": 8, "lost": 0, "doubled": 0}


def test_a_peers_redelivery_is_no_message_and_its_last_period_is_not_judged() -> None:
    rows = [*three_periods(), an_arrival("a", START + 14_000, redelivered=True)]

    assert told_of(rows, START + 39_999) == {"slots": 4, "messages": 8, "lost": 0, "doubled": 0}


def test_a_peer_that_sends_nothing_has_no_slots() -> None:
    assert told_of([]) == {"slots": 0, "messages": 0, "lost": 0, "doubled": 0}


def test_a_message_is_read_with_its_fire_and_its_retries() -> None:
    header = {"job": "tick", "fire": START, "kind": "scheduled"}
    fired = ending.message_of(an_arrival("x", START, headers={"legion": header, "retries": 2}))
    pushed = ending.message_of(an_arrival("x", START, headers={"legion": {**header, "kind": "pushed"}}))
    foreign = ending.message_of(an_arrival("x", START))

    assert (fired.job, fired.fire, fired.retries) == ("tick", START, 2)
    assert (pushed.job, pushed.fire, pushed.retries) == ("tick", None, 0)
    assert (foreign.job, foreign.fire) == ("x", None)


def test_faults_of_workers_excuse_no_leader_and_those_under_an_epoch_are_the_notes_to_tell() -> None:
    timeline = [
        {"wall": 100.0, "fault": "kill", "role": "worker"},
        {"wall": 200.0, "fault": "drop", "who": ["worker"], "until": 203.0},
        {"wall": 300.0, "fault": "no workers", "until": 310.0},
        {"wall": 400.0, "fault": "drop", "who": ["beat", "worker"], "until": 401.0},
        {"wall": 500.0, "fault": "kill", "role": "beat"},
        {"wall": 600.0, "fault": "claimed", "epoch": 3},
    ]

    assert ending.windows(timeline, 2.0, workers=True) == [(99_500, 102_000), (199_500, 205_000), (299_500, 312_000)]
    assert ending.windows(timeline, 2.0, workers=False) == [(399_500, 403_000), (499_500, 502_000)]
