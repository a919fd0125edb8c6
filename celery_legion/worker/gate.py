"""The gate: asks the store once for each message of a run, when a slot of the pool is free for it."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

from celery.bootsteps import CLOSE, TERMINATE
from celery.worker import state

from celery_legion.command import TASK
from celery_legion.context import Context
from celery_legion.control import in_line
from celery_legion.errors import StoreUnavailableError
from celery_legion.header import KEY, Header, HeaderError
from celery_legion.stores.base import Admission, Answer, RunStore, Ticket
from celery_legion.visibility import unrenewed, visibility_of
from celery_legion.worker.begun import BegunRuns
from celery_legion.worker.commands import forgery
from celery_legion.worker.current import begun_header, raw_header, retries_of
from celery_legion.worker.keyspace import PATIENCE, ForeignRunError, Keyspace
from celery_legion.worker.prefetch import Prefetch
from celery_legion.worker.requests import put_back, reserve, running_other, schedule
from celery_legion.worker.slots import wait_for_slot

logger = logging.getLogger(__name__)

PAUSE = 5.0
"""Seconds for which a silent store is not asked again."""

FIRST_WAIT = 0.1
"""Seconds that a message waits first; they double up to what the store says. A retry overtakes its end by little."""

MOMENT = timedelta(seconds=1)
"""The longest that a store lets a message wait until it asks again."""

HELD_LIMIT = 1000
"""How many waiting messages raise the prefetch count. Beyond it the broker keeps the rest."""


@dataclass(slots=True)
class Passage:
    """What the gate remembers of one message: who asks, how often it waited, and its token once it may run."""

    asker: str = field(default_factory=lambda: uuid4().hex)
    waits: int = 0
    token: int = 0
    requeued: bool = False


class Gate:
    """Decides in the worker's main process whether a request may run; made for one consumer.

    *store* is a store of the gate's own, opened with :data:`PATIENCE`. While it is silent every guarded
    message waits: a message is never run unguarded, and never given back to the broker, which would
    deliver it again at once.
    """

    def __init__(self, context: Context, store: RunStore, begun: BegunRuns) -> None:
        self.context = context
        self.store = store
        self.begun = begun
        self.consumer: Any = None
        self.kill_later: Callable[[float, Any, int, Any], object] = lambda *_: None
        self.receive: Callable[[], object] = lambda: None
        self.hurry: Callable[[], object] = lambda: None
        self.keyspace = Keyspace(context, begun, min(PATIENCE, context.config.store_timeout))
        self.making: Callable[[Any], object] | None = None
        self._silent_until = 0.0
        self._silent = False
        self._qos: Any = None
        self._held = 0
        self._prefetch = Prefetch()
        config = context.config
        self._lease = config.run_lease
        visibility = visibility_of(context.app)
        if visibility.problem is not None:
            logger.warning("broker_transport_options: %s", visibility.problem)
        self._visibility = visibility.span
        self._unrenewed = unrenewed(context.app)

    def wait(self, request: Any) -> None:
        """Wait until *request* can start, where Celery would ask about it too early. Not at its receipt."""
        if request in state.reserved_requests:
            wait_for_slot(self.consumer.pool)

    def refuses(self, request: Any) -> bool:
        """Return whether *request* shall not be executed now; it is then acknowledged or waits.

        Called where Celery asks whether a request is revoked, after its own reasons. At receipt, where it asks
        for a message with ``expires`` too, nothing is decided: the message may still go back to the broker.
        """
        raw = raw_header(request.request_dict)
        if raw is None or request not in state.reserved_requests:
            return False
        try:
            header = Header.load(raw)
        except HeaderError as exc:
            logger.error("Task %s[%s] is not executed: %s", request.name, in_line(request.id), in_line(exc))
            self._drop(request)
            return True
        problem = _forgery(request, header) if isinstance(request.id, str) else "its id is no text"
        if problem is not None:
            logger.error("Task %s[%s] is not executed: %s", request.name, in_line(request.id), in_line(problem))
            self._drop(request)
            return True
        passage = request.passage
        if passage is None:
            passage = request.passage = Passage()
        try:
            answer = self._ask(request, header, passage)
        except ForeignRunError as exc:
            logger.error("Run %s of job %s is not executed: %s", *_named(request, header), exc)
            self._drop(request)
            return True
        match answer.admission:
            case Admission.GO:
                passage.token = answer.token
                begun = begun_header(raw if isinstance(raw, dict) else {}, answer)
                request.request_dict[KEY] = begun
                nested = request.request_dict.get("headers")
                if isinstance(nested, dict):
                    # Celery sends these alone with a retry, where there are any.
                    request.request_dict["headers"] = {**nested, KEY: begun}
                self.begun.add(request, answer.token)
                return False
            case Admission.WAIT:
                self._hold(request, passage, answer.wait.total_seconds())
            case Admission.DUPLICATE:
                logger.info("Run %s of job %s has its message already: a copy is dropped", *_named(request, header))
                self._drop(request)
            case Admission.SUPERSEDED:
                logger.info("Run %s of job %s is superseded: its message is dropped", *_named(request, header))
                self._drop(request)
            case Admission.REFUSED:
                text = "Task %s[%s] is not executed: the store knows no such run of job %s"
                logger.error(text, request.name, *_named(request, header))
                self._drop(request)
        return True

    def readable(self, request: Any) -> str | None:
        """Return what a command's request is shown as, with its secrets masked; None for other requests."""
        raw = raw_header(request.request_dict)
        if request.task.name != TASK or not isinstance(raw, dict):
            return None
        job = self.context.registry.find(str(raw.get("job")))
        return None if job is None or job.action.command is None else f"({job.action.readable!r},)"

    def _is_ours(self, request: Any, header: Header) -> bool:
        """Whether the run may be asked for now.

        Raises:
            ForeignRunError: It is a run of another app's.
            StoreError: The store does not say.
        """
        before = self.context.config.key_prefix
        served = self.keyspace.serves(request.id, header.prefix)
        if self.context.config.key_prefix != before:
            self.store = self.context.fresh_store(self.keyspace.patience)
            self.hurry()
        return served

    def _ask(self, request: Any, header: Header, passage: Passage) -> Answer:
        clock = self.context.clock
        left = self._silent_until - clock.monotonic()
        if left > 0:
            return self._wait_out(left)
        try:
            if not self._is_ours(request, header):
                return self._wait_out(PAUSE)
            answer = self.store.begin(self._ticket(request, header, passage))
        except ForeignRunError:
            raise
        except StoreUnavailableError as exc:
            if not self._silent:
                logger.warning("No run begins for now: %s", exc)
            self._silent = True
            self._silent_until = clock.monotonic() + PAUSE
            return self._wait_out(PAUSE)
        except Exception as exc:
            # Not to know is not to run, and the worker's loop must live. But it may be this message that the store
            # trips over: the others are asked for all the same.
            if not passage.waits:
                text = "Run %s of job %s does not begin for now: %s"
                logger.warning(text, *_named(request, header), in_line(exc), exc_info=exc)
            return self._wait_out(PAUSE)
        if self._silent:
            self._silent = False
            logger.info("The store answers again; runs begin again")
        return answer

    def _wait_out(self, seconds: float) -> Answer:
        # Spread a little, so that a thousand waiting messages do not ask in one turn of the loop.
        return Answer(admission=Admission.WAIT, wait=timedelta(seconds=seconds * random.uniform(1.0, 1.1)))

    def _ticket(self, request: Any, header: Header, passage: Passage) -> Ticket:
        fields = request.request_dict
        return Ticket(
            id=request.id,
            job=header.job,
            fire_time=header.fire_time,
            kind=header.kind,
            worker=request.hostname,
            retries=retries_of(raw_header(fields), fields.get("retries")),
            redelivered=bool((request.delivery_info or {}).get("redelivered")),
            late=bool(request.task.acks_late),
            lock=header.lock,
            limit=header.limit,
            lock_ttl=header.lock_ttl,
            lease=self._lease,
            visibility=self._visibility,
            asker=passage.asker,
            owes=header.owes,
            known=request.task.name == TASK,
        )

    def _drop(self, request: Any) -> None:
        request.acknowledge()
        state.task_ready(request)
        put_back(request)

    def _hold(self, request: Any, passage: Passage, seconds: float) -> None:
        """Hold *request* as Celery holds one with an ETA: unacknowledged, and let go of by a closing consumer."""
        if not self._silent:
            seconds = min(seconds, FIRST_WAIT * 2 ** min(passage.waits, 10))
            passage.waits += 1
        if self._unrenewed is not None and passage.waits * MOMENT > self._visibility:
            text = "Run %s has waited for longer than its broker hides its message, which comes again as a copy; %s"
            logger.warning(text, in_line(request.id), self._unrenewed)
            self._unrenewed = None
        consumer = self.consumer
        state.reserved_requests.discard(request)
        qos = self._raise_prefetch(consumer)
        request._eta_timer_entry = consumer.timer.call_after(seconds, self._resume, (request, qos), priority=6)
        schedule(request)
        other = running_other(request)
        if other is not None:
            state.requests[request.id] = other

    def _resume(self, request: Any, qos: Any) -> None:
        consumer = self.consumer
        if consumer.blueprint.state in (CLOSE, TERMINATE):
            return
        reserve(request)
        try:
            consumer.on_task_request(request)
        finally:
            if qos is not None and qos is self._qos:
                self._held -= 1
                qos.decrement_eventually()
                self._prefetch.follow(consumer)

    def _raise_prefetch(self, consumer: Any) -> Any:
        """Make room for one more message and return the QoS, or None if too many are held already."""
        qos = consumer.qos
        if qos is not self._qos:
            # The consumer has begun anew with a count of its own, and has let go of what was held.
            self._qos, self._held = qos, 0
        if self._held >= HELD_LIMIT:
            return None
        self._held += 1
        qos.increment_eventually()
        self._prefetch.follow(consumer)
        return qos


def _forgery(request: Any, header: Header) -> str | None:
    """Return why a message of the command task must not even take the place of the run that it names."""
    return None if request.task.name != TASK else forgery(header.job, request.args or (), request.kwargs or {})


def _named(request: Any, header: Header) -> tuple[str, str]:
    """Return id and job as a log may show them: whoever can send a message chooses them."""
    return in_line(request.id), in_line(header.job)
