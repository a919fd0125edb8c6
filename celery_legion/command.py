"""Shell commands: what a worker executes for a job, as frozen data."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha1
from pathlib import PurePath

TASK = "celery_legion.command"
"""The Celery task that executes commands. Its message names the job and never says what is executed."""

SHELL = "/bin/sh"
MASK = "***"
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command and how it is executed.

    ``line`` is text for a shell, or the arguments of a program that is executed without one. ``env`` is added to the
    worker's environment. ``secrets`` are shown as ``***``: each is the name of an environment variable, whose value
    is meant, or else the secret text itself.
    """

    line: str | tuple[str, ...]
    cwd: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    umask: int | None = None
    nice: int | None = None
    user: str | None = None
    timeout: timedelta | None = None
    secrets: tuple[str, ...] = ()

    @property
    def argv(self) -> list[str]:
        """What is executed."""
        return [SHELL, "-c", self.line] if isinstance(self.line, str) else list(self.line)

    @property
    def readable(self) -> str:
        """The line for people, as one of a shell, with secrets masked."""
        if isinstance(self.line, str):
            return self.mask(self.line)
        # Masked before they are quoted, which may tear a secret apart.
        words = map(self.mask, self.line)
        return " ".join(word if MASK in word else shlex.quote(word) for word in words)

    @property
    def name(self) -> str:
        """A name that tells the program and stays as long as the line does; it does not give the line away."""
        digest = sha1(repr(self.line).encode("utf-8", "replace"), usedforsecurity=False).hexdigest()[:8]
        return f"{_program(self.line)}-{digest}"

    def values(self) -> list[str]:
        """Return the secret texts, the longest first, as this process's environment has them."""
        own = dict(self.env)
        found = {own.get(name, os.environ.get(name, name)) for name in self.secrets}
        return sorted(filter(None, found), key=len, reverse=True)

    def mask(self, text: str) -> str:
        """Return *text* with every secret in it masked."""
        for value in self.values():
            text = text.replace(value, MASK)
        return text

    def __repr__(self) -> str:
        return f"<Command {self.readable}>"


def _program(line: str | tuple[str, ...]) -> str:
    if isinstance(line, str):
        try:
            words = shlex.split(line)
        except ValueError:
            words = []
        # Assignments may stand before the program, and hold secrets.
        program = next((word for word in words if not ASSIGNMENT.match(word)), "")
    else:
        program = line[0] if line else ""
    name = "".join(char for char in PurePath(program).name if char.isascii() and (char.isalnum() or char in "._-"))
    return name or "command"
