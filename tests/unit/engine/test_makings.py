"""Makings beside the passes: who is made there, and that nobody waits for one that takes long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, Task, current_app
from celery._state import task_join_will_block

from celery_legion.beat import Scheduler
from celery_legion.codec import Message
from celery_legion.context import Context
from celery_legion.engine import makings
from celery_legion.engine.dispatch import Dispatch
from celery_legion.engine.makings import MOST, Makings
from celery_legion.stores.memory import MemoryStore

SOON = 20.0


class Shop:
    """An app with a task of Celery's own, and one whose ``apply_async`` waits for ``go`` if it is ``slow``."""

    def __init__(self) -> None:
        self.app = Celery("made", broker="redis://127.0.0.1:1/0", set_as_current=False)
        self.app.conf.update(legion_store_url="memory://made", result_expires=None)
        Context.of(self.app).use_store(MemoryStore())
        self.time = 0.0
        self.go = threading.Event()
        self.slow: set[str] = set()
        self.raises: BaseException | None = None
        self.calls: list[tuple[str, str]] = []
        self.seen: list[tuple[bool, bool]] = []
        shop = self

        class Own(Task):
            abstract = True

            def apply_async(self, args: Any = None, kwargs: Any = None, **given: Any) -> Any:
                shop.calls.append((given["task_id"], threading.current_thread().name))
                shop.seen.append((current_app._get_current_object() is shop.app, task_join_will_block()))
                if given["task_id"].partition("-")[0] in shop.slow:
                    assert shop.go.wait(SOON)
                if shop.raises is not None:
                    raise shop.raises
                return super().apply_async(args, kwargs, **given)

        def nothing() -> None:
            """Do nothing."""

        self.app.task(name="own", base=Own, shared=False)(nothing)
        self.app.task(name="plain", shared=False)(nothing)
        self.scheduler = Scheduler(self.app)
        self.makings = Makings(self.app, lambda: self.time)

    def dispatch(self, job: str, run: int = 1, task: str = "own") -> Dispatch:
        return Dispatch(run_id=f"{job}-{run}", job=job, message=Message(task=task), header=None)

    def make(self, job: str, run: int = 1, task: str = "own") -> Dispatch:
        dispatch = self.dispatch(job, run, task)
        self.makings.make(dispatch, self.scheduler._send)
        return dispatch

    def release(self) -> None:
        """Let slow code go on, and wait until all makings have ended."""
        self.go.set()
        assert all(errand.done.wait(SOON) for errand in self.makings._errands.values())


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    # The usual making is waited for however long it takes on this machine; one that is held up is not.
    made = Shop()
    monkeypatch.setattr(makings, "PATIENCE", SOON)
    yield made
    made.go.set()
    made.app.close()


@pytest.fixture
def hurried(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setattr(makings, "PATIENCE", 0.0)
    monkeypatch.setattr(makings, "QUICK", 0.0)
    return shop


def is_made(dispatch: Dispatch) -> bool:
    return dispatch.making is not None and dispatch.making.messages == 1 and not dispatch.late


class TestWho:
    """Which messages are made beside the passes."""

    def test_a_task_with_an_apply_async_of_its_own(self, shop: Shop) -> None:
        assert is_made(shop.make("a"))
        assert shop.calls == [("a-1", "legion-making")]
        # As in the pass: the app is the current one, and its result backend is left alone.
        assert shop.seen == [(True, True)]
        assert task_join_will_block() is False

    def test_no_other_nor_where_a_monitor_has_patched_celerys_own_class(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain = Task.apply_async
        monkeypatch.setattr(Task, "apply_async", lambda *args, **kwargs: plain(*args, **kwargs))
        assert is_made(shop.make("a", task="plain"))
        assert is_made(shop.make("b", task="known by its name only"))
        assert shop.makings._threads == []

    def test_all_where_a_router_is_code(self, shop: Shop) -> None:
        shop.app.conf.task_routes = [{"plain": {"queue": "q"}}, lambda *args, **kwargs: None]
        assert is_made(shop.make("a", task="plain"))
        assert len(shop.makings._threads) == 1

    def test_one_whose_last_making_was_slow(self, shop: Shop) -> None:
        def slowly(dispatch: Dispatch, producer: Any) -> None:
            shop.time += 0.2
            shop.scheduler._send(dispatch, producer)

        for run, threads in ((1, 0), (2, 1)):
            shop.makings.make(shop.dispatch("a", run, "plain"), slowly)
            assert len(shop.makings._threads) == threads
        shop.make("a", 3, "plain")
        # That one was not slow.
        assert shop.makings._slow == set()

    @pytest.mark.parametrize("error", [KeyError("own"), SystemExit(3)], ids=["error", "exit"])
    def test_what_is_raised_there_is_the_jobs_own_error(self, shop: Shop, error: BaseException) -> None:
        shop.raises = error
        dispatch = shop.make("a")
        assert (dispatch.making, dispatch.late) == (None, False)
        assert type(dispatch.error) is (KeyError if isinstance(error, KeyError) else RuntimeError)
        shop.raises = None
        assert is_made(shop.make("a", 2))


class TestLate:
    """One that takes longer than a pass may wait."""

    def test_it_goes_on_and_is_taken_when_it_is_done(self, hurried: Shop) -> None:
        hurried.slow = {"a"}
        dispatch = hurried.make("a")
        assert (dispatch.late, dispatch.making, dispatch.error) == (True, None, None)
        assert not hurried.makings.is_ready(dispatch)
        hurried.release()
        hurried.makings.wait(SOON)
        assert hurried.makings.is_ready(dispatch)
        hurried.makings.make(dispatch, hurried.scheduler._send)
        assert is_made(dispatch)
        assert [run for run, _ in hurried.calls] == ["a-1"]

    def test_it_is_never_made_twice_nor_beside_another_of_its_job(self, hurried: Shop) -> None:
        hurried.slow = {"a"}
        for run in (1, 1, 2):
            assert hurried.make("a", run).late
        hurried.release()
        # The second begins when the first has ended; what that one made is there for whoever asks for it.
        hurried.make("a", 2)
        hurried.release()
        assert is_made(hurried.make("a", 1))
        assert is_made(hurried.make("a", 2))
        assert [run for run, _ in hurried.calls] == ["a-1", "a-2"]

    def test_it_keeps_no_other_job_from_being_made(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        shop.slow = {"a"}
        monkeypatch.setattr(makings, "PATIENCE", 0.0)
        assert shop.make("a").late
        monkeypatch.setattr(makings, "PATIENCE", SOON)
        assert is_made(shop.make("b"))
        assert is_made(shop.make("c", task="plain"))

    def test_beyond_a_number_of_them_others_wait_and_begin_when_one_ends(self, hurried: Shop) -> None:
        names = [f"j{number}" for number in range(MOST + 1)]
        hurried.slow = set(names)
        made = [hurried.make(name) for name in names]
        assert all(one.late for one in made)
        assert len(hurried.makings._threads) == MOST
        assert not hurried.makings.is_ready(made[-1])
        hurried.release()
        assert hurried.makings.is_ready(made[-1])
        hurried.make(names[-1])
        hurried.release()
        assert is_made(hurried.make(names[-1]))
        assert len(hurried.calls) == MOST + 1

    def test_passes_wait_for_all_of_them_together_no_longer_than_for_one(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(makings, "PATIENCE", 0.25)
        waits = _waiting(monkeypatch, shop, 0.2)
        shop.slow = {"a", "b", "c", "d"}
        for job in "abc":
            shop.make(job)
        assert waits == pytest.approx([0.25, 0.05, makings.QUICK])
        shop.time += 1
        shop.make("d")
        assert waits[3:] == [0.25]
        # Nobody waits for what was late the last time.
        shop.makings._tardy.add("e")
        shop.time += 1
        shop.make("e")
        assert waits[4:] == [0.0]

    def test_many_quick_ones_use_up_nothing(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(makings, "PATIENCE", 0.25)
        waits = _waiting(monkeypatch, shop, makings.QUICK / 2)
        for number in range(MOST):
            shop.make(f"j{number}")
        assert waits == [0.25] * MOST


def _waiting(monkeypatch: pytest.MonkeyPatch, shop: Shop, took: float) -> list[float]:
    """Have each wait take *took* by the shop's clock, and return for how long was to be waited."""
    waits: list[float] = []
    errand: Callable[..., Any] = makings.Errand

    def build(*args: Any) -> Any:
        made = errand(*args)

        class Watched(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                waits.append(timeout or 0.0)
                shop.time += took
                return self.is_set()

        made.done = Watched()
        return made

    monkeypatch.setattr(makings, "Errand", build)
    return waits
