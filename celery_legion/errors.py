"""The errors that celery_legion raises; each says in one line what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the closest of *known*, or an empty string."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


class LegionError(Exception):
    """Base of every error of this package.

    ``exit_code`` is what the command line exits with when the error reaches it:
    2 for usage and configuration, 3 for a store or broker that cannot be reached,
    4 for a job or run that does not exist.
    """

    exit_code = 2


class ConfigurationError(LegionError, ValueError):
    """A setting has a value that cannot work. Raised when the settings are read."""

    def __init__(self, setting: str, expected: str, got: object) -> None:
        super().__init__(setting, expected, got)
        self.setting, self.expected, self.got = setting, expected, got

    def __str__(self) -> str:
        return f"expected {self.setting} to be {self.expected}, got: {self.got!r}"


class UnknownSettingError(LegionError, LookupError):
    """The app's configuration holds a ``legion_*`` key that no setting has."""

    def __init__(self, setting: str, known: Iterable[str] = ()) -> None:
        known = tuple(known)
        super().__init__(setting, known)
        self.setting, self.known = setting, known

    def __str__(self) -> str:
        return f"no setting is called {self.setting!r}{did_you_mean(self.setting, self.known)}; remove or rename it"


class EagerTasksError(LegionError, RuntimeError):
    """``task_always_eager`` is on, so every dispatch would run inside the scheduler."""

    def __str__(self) -> str:
        return "task_always_eager is on: tasks would run inside the scheduler; turn it off to start the scheduler"


class UnknownJobError(LegionError, LookupError):
    """A name that no job carries was used."""

    exit_code = 4

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        known = tuple(known)
        super().__init__(name, known)
        self.name, self.known = name, known

    def __str__(self) -> str:
        hint = did_you_mean(self.name, self.known) or "; `celery legion list` shows all jobs"
        return f"no job is named {self.name!r}{hint}"


class UnknownRunError(LegionError, LookupError):
    """A target is no run, no job that has run, and no process of a run. ``hint`` names a similar job."""

    exit_code = 4

    def __init__(self, target: str, hint: str = "", is_job: bool = False) -> None:
        super().__init__(target, hint, is_job)
        self.target, self.hint, self.is_job = target, hint, is_job

    def __str__(self) -> str:
        if self.is_job:
            return f"job {self.target!r} has not run yet; `celery legion history {self.target}` shows what became of it"
        return f"no run, job or process is called {self.target!r}{self.hint}; `celery legion history` shows all runs"


class AmbiguousTargetError(LegionError, LookupError):
    """A process, or the beginning of an id, means several runs; nothing was done to any of them."""

    exit_code = 4

    def __init__(self, target: str, runs: Sequence[str]) -> None:
        runs = tuple(runs)
        super().__init__(target, runs)
        self.target, self.runs = target, runs

    def __str__(self) -> str:
        return f"{self.target} means {len(self.runs)} runs; name one by its id: {', '.join(self.runs)}"


class DuplicateJobError(LegionError, ValueError):
    """Two jobs carry one name. Raised at registration, with both places."""

    def __init__(self, name: str, first: str, second: str) -> None:
        super().__init__(name, first, second)
        self.name, self.first, self.second = name, first, second

    def __str__(self) -> str:
        return (
            f"two jobs are named {self.name!r}, at {self.first} and at {self.second}; "
            "give one of them another name with name=... or .name(...)"
        )


class NamelessActionError(LegionError, ValueError):
    """A lambda or a nested function has no stable name of its own."""

    def __init__(self, what: str, place: str) -> None:
        super().__init__(what, place)
        self.what, self.place = what, place

    def __str__(self) -> str:
        return f"{self.what} at {self.place} has no stable name; give the job one with name=... or .name(...)"


class InvalidJobError(LegionError, ValueError):
    """A job cannot be built as it was written. Raised at registration, with its name and place."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(name, problem)
        self.name, self.problem = name, problem

    def __str__(self) -> str:
        return f"job {self.name!r}: {self.problem}"


class CommandError(LegionError, RuntimeError):
    """Base of what a command's run ends with when it has not succeeded. ``output`` is the tail of what it wrote."""

    exit_code = 1

    def __init__(self, job: str, detail: Any, output: str = "") -> None:
        super().__init__(job, detail, output)
        self.job, self.detail, self.output = job, detail, output

    def __repr__(self) -> str:
        # Celery logs this, and the output is in the log already.
        return f"{type(self).__name__}({self.job!r}, {self.detail!r})"

    @property
    def last_line(self) -> str:
        """The last line of its output, bounded, with what leads to it."""
        lines = self.output.strip().splitlines()
        return f": {lines[-1].strip()[:200]}" if lines else ""


class CommandFailedError(CommandError):
    """A command has exited with another code than 0; ``code`` is -N for one that signal N has ended."""

    @property
    def code(self) -> int:
        """The exit code."""
        return int(self.detail)

    def __str__(self) -> str:
        how = f"was ended by signal {-self.code}" if self.code < 0 else f"exited with code {self.code}"
        return f"the command of job {self.job!r} {how}{self.last_line}"


class CommandTimeoutError(CommandError):
    """A command took longer than its timeout, and was ended."""

    def __str__(self) -> str:
        return f"the command of job {self.job!r} took longer than its timeout of {self.detail}{self.last_line}"


class CommandLostError(CommandError):
    """A command was killed together with the process that watches over it, or that could not even start."""

    def __str__(self) -> str:
        return f"the command of job {self.job!r} was killed with its shim; was memory short?{self.last_line}"


class CommandRefusedError(CommandError):
    """A command is not executed: the message, the job, or this worker is not what it must be."""

    def __str__(self) -> str:
        return f"no command is executed for job {self.job!r}: {self.detail}"


class RunInterruptedError(CommandError):
    """A command was interrupted by someone who asked for it."""

    def __str__(self) -> str:
        return f"the command of job {self.job!r} was interrupted"


class StoreError(LegionError, RuntimeError):
    """The store answered with something that cannot be worked with."""

    exit_code = 3

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return self.problem


REMEDIES = {
    "read only replica": "it has become a replica: let the URL name the server that takes writes",
    "is loading the dataset": "it is up, and takes work when it has read its data",
    "CERTIFICATE_VERIFY_FAILED": "name the authority's file as ssl_ca_certs (in the URL, broker_use_ssl or "
    "redis_backend_use_ssl), or let nothing be checked by ssl_cert_reqs=none",
}
"""What a server says that can be reached → what to do about it."""


class StoreUnavailableError(StoreError, ConnectionError):
    """The store did not answer in time; whether the verb took effect is unknown.

    Repeating the same call is safe: every verb gives the same caller the same answer.
    """

    def __init__(self, store: str, cause: str) -> None:
        super().__init__(cause)
        self.args = (store, cause)
        self.store, self.cause = store, cause

    def __str__(self) -> str:
        for mark, remedy in REMEDIES.items():
            if mark in self.cause:
                return f"the store {self.store} cannot be used ({self.cause}); {remedy}"
        check = "check its URL (legion_store_url, else the broker's) and that it is up"
        return f"the store {self.store} cannot be reached ({self.cause}); {check}"


class BrokerUnavailableError(LegionError, ConnectionError):
    """The broker did not take a message in time. ``delivered`` are the run ids it is known to have all the same."""

    exit_code = 3
    delivered: tuple[str, ...] = ()

    def __init__(self, broker: str, cause: str) -> None:
        super().__init__(broker, cause)
        self.broker, self.cause = broker, cause

    def __str__(self) -> str:
        return f"the broker {self.broker} cannot be reached ({self.cause}); check broker_url and that it is up"


class ForeignLeaderError(LegionError, RuntimeError):
    """A scheduler of another app leads under the same key prefix."""

    def __init__(self, prefix: str, ours: str, theirs: str) -> None:
        super().__init__(prefix, ours, theirs)
        self.prefix, self.ours, self.theirs = prefix, ours, theirs

    def __str__(self) -> str:
        return (
            f"the store's prefix {self.prefix!r} is used by app {self.theirs!r}, and this is {self.ours!r}; "
            "set legion_key_prefix to a name of this app's own"
        )
