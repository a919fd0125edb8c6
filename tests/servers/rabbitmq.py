"""A RabbitMQ of a test's own: the Debian package's program on free loopback ports, gone without a trace."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from kombu import Connection

from celery_legion.embedded import die_with_parent
from celery_legion.errors import LegionError
from tests.servers.patience import patient
from tests.servers.polling import eventually

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")

READY_WITHIN = 60.0
STOPS_WITHIN = 20.0

CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{port}
default_user = legion
default_pass = {password}
disk_free_limit.absolute = 50MB
"""


class NoRabbitError(LegionError, RuntimeError):
    """RabbitMQ is not installed."""

    def __str__(self) -> str:
        return f"there is no RabbitMQ at {SERVER}; on Debian or Ubuntu: apt-get install rabbitmq-server"


class RabbitFailedError(LegionError, RuntimeError):
    """The server did not start; ``log`` is the end of what it said."""

    def __init__(self, log: str) -> None:
        super().__init__(log)
        self.log = log

    def __str__(self) -> str:
        return f"RabbitMQ did not start; find the reason in what it said: {' | '.join(self.log.splitlines())}"


class RabbitMQ:
    """A node of its own, with its own port mapper, cookie and folder, as a context manager.

    Ports and data stay the same over stops, kills and restarts; :meth:`close` removes them. It shares nothing with
    another node on the machine and dies with the thread that started it.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.port = 0
        self.password = secrets.token_hex(12)
        self._dist_port = self._mapper_port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._mapper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def url(self) -> str:
        """Return the URL of its default virtual host, with the password."""
        return f"amqp://legion:{self.password}@127.0.0.1:{self.port}//"

    @property
    def pid(self) -> int:
        """The process id of its Erlang machine, 0 if it does not run."""
        return self._process.pid if self._process is not None else 0

    @property
    def log(self) -> str:
        """What the node has printed so far."""
        path = self.folder / "server.log" if self.folder is not None else None
        return path.read_text(errors="replace") if path is not None and path.exists() else ""

    def start(self) -> None:
        """Start it and return when a client can log in.

        Raises:
            NoRabbitError: The package is not installed.
            RabbitFailedError: It ended, or did not answer in time.
        """
        if not SERVER.exists():
            raise NoRabbitError
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="legion-rabbit-"))
            self.port, self._dist_port, self._mapper_port = _free_ports(3)
            (self.folder / "rabbit.conf").write_text(CONFIG.format(port=self.port, password=self.password))
            (self.folder / "plugins").write_text("[].\n")
        if self._mapper is None or self._mapper.poll() is not None:
            # Started by the node, it would be a daemon that stays when the node has gone.
            self._mapper = self._spawn("epmd", "-port", str(self._mapper_port), "-address", "127.0.0.1")
            eventually(lambda: _listens(self._mapper_port), what="the port mapper answers")
        self._process = self._spawn(str(SERVER))
        deadline = time.monotonic() + patient(READY_WITHIN)
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill9()
                raise RabbitFailedError(self.log[-1500:])
            time.sleep(0.1)

    def stop(self) -> None:
        """End it, politely first; what it has written stays for the next :meth:`start`."""
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(STOPS_WITHIN)
            except subprocess.TimeoutExpired:
                pass
        self.kill9()

    def kill9(self) -> None:
        """End it at once, as a crash would, with what it started; the port mapper stays."""
        mapper = self._mapper.pid if self._mapper is not None else 0
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None
        self._kill_rest(spare=mapper)

    def restart(self) -> None:
        """Stop and start it on the same port with the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End it and its port mapper, and remove its folder."""
        self.stop()
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait()
            self._mapper = None
        if self.folder is not None:
            self._kill_rest(spare=0)
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    def processes(self) -> list[int]:
        """Return the ids of all processes that run with this node's folder in their environment."""
        if self.folder is None:
            return []
        mark = f"RABBITMQ_MNESIA_BASE={self.folder}/".encode()
        return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and mark in _environ(path)]

    def _kill_rest(self, spare: int) -> None:
        def rest() -> list[int]:
            return [pid for pid in self.processes() if pid != spare]

        for pid in rest():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        eventually(lambda: not rest(), what="the node's processes are gone")

    def _spawn(self, *argv: str) -> subprocess.Popen[bytes]:
        assert self.folder is not None
        with (self.folder / "server.log").open("ab") as out:
            return subprocess.Popen(
                argv,
                cwd=self.folder,
                env=self._environment(self.folder),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=partial(die_with_parent, os.getpid()),
            )

    def _environment(self, folder: Path) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        return {
            **kept,
            # The cookie is made in the home folder.
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"legion{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbit",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
            # Without it a shell stays between us and the Erlang machine.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _answers(self) -> bool:
        try:
            with Connection(self.url(), connect_timeout=5) as connection:
                connection.connect()
                return True
        except Exception:
            return False


def _environ(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
