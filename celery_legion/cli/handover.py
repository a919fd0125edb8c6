"""The handover: where a running ``legion dev`` has its server, for commands in another terminal."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from celery_legion.config import app_name
from celery_legion.errors import LegionError

BROKER_VARIABLES = ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL")
"""What Celery reads before an app's own settings."""


class DevRunsError(LegionError, RuntimeError):
    """A ``legion dev`` of the same app runs on this machine already."""

    def __init__(self, app: str, pid: int) -> None:
        super().__init__(app, pid)
        self.app, self.pid = app, pid

    def __str__(self) -> str:
        return f"`celery legion dev` of app {self.app!r} runs already, as process {self.pid}; end that one first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What the file of an app says: the process of its dev, when that began, and its server (None = not its own)."""

    pid: int
    born: str
    url: str | None = None


def adopt(app: Any) -> None:
    """Let *app* use the server of a ``legion dev`` that runs here, if it has no broker of its own.

    Never raises: a command that has no broker says so itself.
    """
    # Whatever is wrong with the app's settings is found again, and told, by who needs them.
    with suppress(Exception):
        if has_broker(app):
            return
        note = _read(_path(app_name(app)))
        if note is not None and note.url is not None and note.born == birth(note.pid):
            os.environ[BROKER_VARIABLES[0]] = note.url
            click.echo(f'using the server of "legion dev" (process {note.pid})', err=True)


def has_broker(app: Any) -> bool:
    """Return whether a broker is configured, in the app or in the environment."""
    return bool(app.conf.broker_write_url or app.conf.broker_read_url)


def birth(pid: int) -> str | None:
    """Return what tells a process from later ones of the same id; None if it is not alive, "" if nothing tells."""
    try:
        # The name in parentheses may hold anything, also parentheses.
        state, *values = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if state in (b"Z", b"X") else values[18].decode()
    except (OSError, ValueError, IndexError):
        if os.path.isdir("/proc/self"):
            return None
    try:
        os.kill(pid, 0)
    except PermissionError:
        return ""
    except (OSError, OverflowError):
        return None
    return ""


class Claim:
    """The hold of one dev on its app's file. Without a folder that can be trusted it holds nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def publish(self, url: str) -> None:
        """Tell commands in other terminals where the server is."""
        if self._path is not None:
            _write(self._path, Note(pid=os.getpid(), born=birth(os.getpid()) or "", url=url))


@contextmanager
def claim(name: str) -> Iterator[Claim]:
    """Be the one dev of the app *name* on this machine, for this user; its file is gone at the end.

    Raises:
        DevRunsError: There is one.
    """
    try:
        path = _path(name, make=True)
    except OSError:
        path = None
    if path is None:
        yield Claim(None)
        return
    ours = Note(pid=os.getpid(), born=birth(os.getpid()) or "")
    with _alone(path.parent):
        found = _read(path)
        if found is not None and found.pid != ours.pid and found.born == birth(found.pid):
            raise DevRunsError(name, found.pid)
        _write(path, ours)
    try:
        yield Claim(path)
    finally:
        with suppress(OSError), _alone(path.parent):
            found = _read(path)
            if found is not None and found.pid == ours.pid:
                path.unlink()


def _path(name: str, make: bool = False) -> Path | None:
    """Return the app's file, None if its folder is not ours alone."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isdir(runtime):
        folder = Path(runtime, "celery-legion")
    else:
        folder = Path(tempfile.gettempdir(), f"celery-legion-{os.getuid()}")
    if make:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    return folder / f"{quote(name, safe='')}.json" if _is_ours(folder.lstat(), stat.S_ISDIR) else None


def _is_ours(found: os.stat_result, kind: Any) -> bool:
    return kind(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _read(path: Path | None) -> Note | None:
    """Return what the file says; None if it is not there, not ours alone, or says nothing."""
    if path is None:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, encoding="utf-8") as file:
            if not _is_ours(os.fstat(descriptor), stat.S_ISREG):
                return None
            data = json.load(file)
        url = data["url"]
        return Note(pid=int(data["pid"]), born=str(data["born"]), url=None if url is None else str(url))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _write(path: Path, note: Note) -> None:
    descriptor, made = tempfile.mkstemp(dir=path.parent, prefix=".")
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(note), file)
    os.replace(made, path)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from changing what lies in *folder*."""
    # Not everywhere, and every command loads this module.
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
