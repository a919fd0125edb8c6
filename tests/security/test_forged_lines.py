"""Names from the broker and the store make no lines of their own in a log."""

from __future__ import annotations

import logging

import pytest
from celery import Celery
from celery.worker import state

from celery_legion import Legion
from celery_legion.control import in_line
from celery_legion.engine import Dispatch, Engine
from celery_legion.errors import StoreError
from celery_legion.hook import TASK as HOOKS
from celery_legion.run import Kind, Reason, Record, State
from celery_legion.stores.base import Admission, Answer, Debt, Request, Unsent
from celery_legion.stores.memory import MemoryStore
from tests.worker.doubles import FIRE, Bench

FORGED = "x\nforged: all is well\r\x1b[2K\u2028\x85\ty"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("celery_legion")]


def check(said: list[str], count: int = 1) -> None:
    assert len(said) >= count
    for line in said:
        assert len(line.splitlines()) == 1 and line.isprintable(), line


@pytest.mark.parametrize(
    "answer",
    [
        Admission.DUPLICATE,
        Admission.SUPERSEDED,
        Admission.REFUSED,
        "a header that is none",
        "an error",
    ],
)
def test_the_gate_writes_one_line(
    answer: Admission | str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG, "celery_legion")
    bench = Bench(Answer(admission=answer) if isinstance(answer, Admission) else Answer(admission=Admission.WAIT))
    header = {**bench.header.dump(), "job": FORGED}
    if answer == "a header that is none":
        header["kind"] = FORGED
    if answer == "an error":

        def fail(ticket: object) -> Answer:
            raise StoreError(f"refused {FORGED}")

        monkeypatch.setattr(bench.store, "begin", fail)
    request = bench.request(run_id=FORGED, header=header)
    state.task_reserved(request)
    try:
        assert request.revoked() is True
    finally:
        state.reset_state()
    check(lines(caplog))


class Hostile(MemoryStore):
    """A store that holds what others have put there."""

    def reap(self, limit: int) -> list[Record]:
        return [
            Record(
                id=FORGED,
                job=FORGED,
                kind=Kind.SCHEDULED,
                fire_time=FIRE,
                last_fire_time=FIRE,
                state=State.LOST,
                reason=f"{Reason.PROCESS_LOST}{FORGED}",
            )
        ]

    def unsent(self, older_than: object, limit: int, lost_after: object = None) -> list[Unsent]:
        now = self.now()
        return [
            Unsent(id=FORGED, job=FORGED, kind=Kind.SCHEDULED, fire_time=at, claimed_at=now, message=FORGED)
            for at in (FIRE, now)
        ]

    def owed(self, limit: int, patience: object) -> list[Debt]:
        return [Debt(id=FORGED, record=self.reap(1)[0], sends=2)]


def test_the_scheduler_writes_lines_of_its_own_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "celery_legion")
    app = Celery("forged", broker="memory://", set_as_current=False)
    app.conf.legion_store_url = "memory://forged"
    legion = Legion(app)
    legion.context.use_store(Hostile())
    legion.context.store.push(Request(id=FORGED, body=f'{{"job": "{FORGED}"}}'))
    sent: list[str] = []

    def send(dispatch: Dispatch, producer: object) -> None:
        sent.append(dispatch.message.task)
        dispatch.error = ValueError("no")

    engine = Engine(legion.context, send)
    engine.tick()
    engine._dispatcher.send_hooks()
    said = lines(caplog)
    for words in ("ended as lost", "is missed", "is put aside", "are sent again", "are not sent", "cannot be read"):
        assert any(words in line for line in said), (words, said)
    assert sent == [HOOKS]
    check(said)


def test_a_worker_that_knows_no_such_job_writes_one_line(caplog: pytest.LogCaptureFixture) -> None:
    app = Celery("forged", broker="memory://", set_as_current=False)
    app.conf.legion_store_url = "memory://forged"
    legion = Legion(app)
    legion.context.use_store(MemoryStore())
    legion.command("true").every_minute().name("known")
    app.tasks[HOOKS]("debt", FORGED)
    check(lines(caplog))


@pytest.mark.parametrize("text", ["a\nb", "a\tb", "a\r\x1b[2Jb", "a\u2028b", "a\x85b"])
def test_a_part_of_a_line_is_printable(text: str) -> None:
    assert in_line(text).isprintable()


def test_what_is_printable_stays_as_it_is() -> None:
    assert in_line("nightly ß 日本 'x' \\n") == "nightly ß 日本 'x' \\n"
