"""The fluent builder of jobs that are shell commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike, fspath
from typing import Any, Self

from celery_legion.builder import Builder, forgiving
from celery_legion.command import TASK, Command
from celery_legion.config import Config
from celery_legion.duration import Duration
from celery_legion.errors import InvalidJobError
from celery_legion.job import NOTHING, Action, ActionKind, Job


class CommandTarget:
    """A command as it was written down at *place*."""

    __slots__ = ("command", "given", "place")

    def __init__(self, line: str | Sequence[str], place: str) -> None:
        self.place = place
        self.command = Command(line=_line(line))
        # What errors call it; the line itself may hold secrets.
        self.given = self.command.name

    @property
    def options(self) -> Mapping[str, Any]:
        """What a command brings along for ``apply_async``: nothing."""
        return NOTHING

    def belongs_to(self, app: Any) -> bool:
        """Return whether *app* may run it: any may."""
        return True

    def arguments(self) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Return what the task is called with: nothing that is known before the job has its name."""
        return (), NOTHING

    def action(self, app: Any, job_name: str | None) -> Action:
        """Return the action.

        Raises:
            InvalidJobError: There is nothing to execute, or it cannot be passed to a program.
        """
        line = self.command.line
        words = (line,) if isinstance(line, str) else line
        if not words or not all(isinstance(word, str) for word in words) or not words[0].strip():
            raise InvalidJobError(job_name or self.given, f"the command at {self.place} is no text and no list of them")
        if any("\0" in word for word in words):
            raise InvalidJobError(job_name or self.given, f"the command at {self.place} holds a NUL; remove it")
        return Action(TASK, ActionKind.COMMAND, self.command)


def _line(line: Any) -> str | tuple[str, ...]:
    """Return a command's line, an empty one for what is none: that is refused when the schedule is read."""
    if isinstance(line, str):
        return line
    if isinstance(line, (list, tuple)) and all(isinstance(word, (str, PathLike)) for word in line):
        words = tuple(map(fspath, line))
        return words if all(isinstance(word, str) for word in words) else ()
    return ()


@forgiving
class CommandBuilder(Builder):
    """A job that executes a command: besides the builder's words, those for how."""

    __slots__ = ()

    target: CommandTarget

    def __init__(self, target: CommandTarget) -> None:
        super().__init__(target)
        self._name = target.command.name

    def cwd(self, folder: str | PathLike[str]) -> Self:
        """Execute it in *folder*; without this, in the worker's."""
        path = fspath(folder) if isinstance(folder, (str, PathLike)) else None
        if not isinstance(path, str) or not path or "\0" in path:
            raise self._fault(f"{folder!r} is no folder; write its path")
        return self._command(cwd=path)

    def env(self, variables: Mapping[str, str] = NOTHING, /, **more: str) -> Self:
        """Add these variables to the worker's environment."""
        if not isinstance(variables, Mapping):
            raise self._fault("env takes a mapping, or names with their values as keywords")
        added = {**dict(self.target.command.env), **variables, **more}
        for name, value in added.items():
            if not isinstance(name, str) or not name or "=" in name or "\0" in f"{name}{value}" or value is None:
                problem = "use names without '=', and as values text without NUL"
                raise self._fault(f"{name!r} is no environment variable; {problem}")
        return self._command(env=tuple((name, str(value)) for name, value in added.items()))

    def umask(self, mask: str) -> Self:
        """Execute it with this umask, written as octal digits: ``"027"``. A number could be meant either way."""
        try:
            value = int(mask, 8) if isinstance(mask, str) else -1
        except ValueError:
            value = -1
        if not 0 <= value <= 0o777:
            raise self._fault(f"{mask!r} is no umask; write its octal digits as text, such as '027'")
        return self._command(umask=value)

    def nice(self, by: int = 10) -> Self:
        """Add *by* to its niceness, up to 19. Below 0 the worker must be root."""
        if not isinstance(by, int) or isinstance(by, bool) or not -20 <= by <= 19:
            raise self._fault(f"{by!r} is no niceness; write a whole number from -20 to 19")
        return self._command(nice=by)

    def user(self, name: str) -> Self:
        """Execute it as this user, with the user's groups and home; the worker must be root."""
        if not isinstance(name, str) or not name or "\0" in name:
            raise self._fault(f"{name!r} is no user's name")
        return self._command(user=name)

    def timeout(self, span: Duration) -> Self:
        """End it when it takes longer than *span*: SIGTERM, and after five seconds SIGKILL. Holds in every pool."""
        return self._command(timeout=self._span(span))

    def secret(self, *secrets: str) -> Self:
        """Show these as ``***`` wherever the command and its output are shown.

        Each is the name of an environment variable, whose value is meant, or else the secret text itself.
        """
        if not all(isinstance(one, str) and one for one in secrets):
            raise self._fault("a secret is text: a variable's name, or what shall not be shown")
        return self._command(secrets=(*self.target.command.secrets, *secrets))

    def build(self, app: Any, config: Config) -> Job:
        """Return the job as it stands now; its message names it and says nothing of the command.

        Raises:
            LegionError: What was said does not make a job; the error names it and where it was written.
        """
        job = super().build(app, config)
        return replace(job, args=(job.name,), options={"shadow": job.name, **job.options})

    def _command(self, **fields: Any) -> Self:
        self.target.command = replace(self.target.command, **fields)
        return self
