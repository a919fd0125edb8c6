"""What an engine is tried on: a clock that is moved, a list for a broker, and the ledger in short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from celery_legion.engine import Dispatch, Engine, OneShot
from celery_legion.stores.memory import MemoryStore

START = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class FakeClock:
    def __init__(self) -> None:
        self.moment = START

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def advance(self, span: timedelta) -> None:
        self.moment += span


class Broker:
    """Takes what is sent; ``down`` makes it fail, ``errors`` are those of jobs whose message cannot be made.

    It wants messages of ``full`` jobs later; those of ``slow`` ones are not made yet, and ``wait`` is how somebody
    waits for that. ``tries`` counts by job how often it was asked to take one. ``messages`` says of which jobs there
    are several a run.

    ``workers`` are those that answer, and the queues that they consume; ``asked`` counts how often they were asked.
    ``counted`` is how many consumers it counts on every queue, None if it does not.
    """

    def __init__(self) -> None:
        self.sent: list[Dispatch] = []
        self.down = False
        self.errors: dict[str, Exception] = {}
        self.full: set[str] = set()
        self.slow: set[str] = set()
        self.tries: Counter[str] = Counter()
        self.waits = 0
        self.wait: Callable[[float], None] = lambda seconds: None
        self.messages: dict[str, int] = {}
        self.workers = {"w": {"celery"}}
        self.asked = 0
        self.counted: int | None = None

    @property
    def ids(self) -> list[str]:
        return [dispatch.run_id for dispatch in self.sent]


def history(store: MemoryStore, job: str = "j") -> list[tuple[str, str | None, int]]:
    return [(record.state.value, record.reason, record.count) for record in store.runs(job, 50)]


def single_pass(engine: Engine) -> int:
    """Do what a one-shot beside *engine* does, and return how many runs it has claimed."""
    return OneShot(engine.context, lambda dispatch, producer: None).run_due()
