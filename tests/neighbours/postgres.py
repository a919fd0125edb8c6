"""A PostgreSQL of a visit's own: the Debian package's programs on a free loopback port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from celery_legion.embedded import die_with_parent
from tests.servers.polling import eventually

HOME = Path("/usr/lib/postgresql")


class NoPostgresError(RuntimeError):
    """PostgreSQL is not installed."""

    def __str__(self) -> str:
        return f"there is no PostgreSQL under {HOME}; on Debian or Ubuntu: apt-get install postgresql"


class Postgres:
    """Runs at ``with``. As root it runs as the user ``postgres``, since it refuses to be root."""

    def __init__(self) -> None:
        found = sorted(HOME.glob("*/bin/postgres"))
        if not found:
            raise NoPostgresError
        self._programs = found[-1].parent
        self._user = "postgres" if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self.folder: Path | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="legion-postgres-"))
        if self._user:
            known = pwd.getpwnam(self._user)
            os.chown(self.folder, known.pw_uid, known.pw_gid)
        data = self.folder / "data"
        init = [
            str(self._programs / "initdb"),
            "-D",
            str(data),
            "-U",
            "legion",
            "-A",
            "trust",
            "--no-sync",
            "-E",
            "UTF8",
        ]
        subprocess.run(init, check=True, capture_output=True, cwd=self.folder, user=self._user, timeout=60)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        argv = [str(self._programs / "postgres"), "-D", str(data), "-p", str(self.port), "-k", str(self.folder)]
        argv += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                argv,
                cwd=self.folder,
                user=self._user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=partial(die_with_parent, os.getpid()),
            )
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        eventually(lambda: subprocess.run(ready, check=False, timeout=10).returncode == 0, 30, "PostgreSQL answers")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
