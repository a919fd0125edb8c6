"""A Valkey with a replica and a sentinel that watches both, on free loopback ports, gone without a trace."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redis import Redis
from redis.exceptions import RedisError

from celery_legion.embedded import die_with_parent, find_server
from tests.servers.polling import eventually

NAME = "legion"
DOWN_AFTER = 500
"""Milliseconds of silence after which the sentinel takes a server for dead."""

SERVER = 'bind 127.0.0.1\nport {port}\nsave ""\nrepl-diskless-sync-delay 0\nrepl-ping-replica-period 1\n'
WATCH = (
    "bind 127.0.0.1\nport {port}\n"
    f"sentinel monitor {NAME} 127.0.0.1 {{master}} 1\n"
    f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER}\nsentinel failover-timeout {NAME} 3000\n"
)


class Watched:
    """Two servers and their sentinel as a context manager: one leads, the other takes over when it is killed."""

    def __init__(self) -> None:
        self.ports = _free_ports(4)
        self.folder: Path | None = None
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="legion-sentinel-"))
        master, replica, sentinel, _ = self.ports
        self._start(master, SERVER.format(port=master))
        self._start(replica, SERVER.format(port=replica) + f"replicaof 127.0.0.1 {master}\n")
        eventually(lambda: self.info(replica).get("master_link_status") == "up", what="the replica follows")
        self._start(sentinel, WATCH.format(port=sentinel, master=master), "--sentinel")
        eventually(lambda: self.info(sentinel)["master0"]["slaves"] == 1, what="the sentinel knows both")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """The broker URL of the sentinel."""
        return f"sentinel://127.0.0.1:{self.ports[2]}/0"

    @property
    def url_with_dead(self) -> str:
        """A broker URL that names a dead sentinel before it."""
        return f"sentinel://127.0.0.1:{self.ports[3]}/0;{self.url}"

    def kill_master(self) -> None:
        """End whoever leads, as a crash would."""
        process = self._processes.pop(self.ports[0])
        process.kill()
        process.wait()

    def info(self, port: int) -> dict[str, Any]:
        """Return what a server says of itself, nothing if it does not answer."""
        try:
            with Redis(port=port, socket_timeout=1) as client:
                said: dict[str, Any] = client.info()
                return said
        except RedisError:
            return {}

    def took_over(self) -> bool:
        """Whether the replica leads by now."""
        return self.info(self.ports[1]).get("role") == "master"

    def _start(self, port: int, config: str, *args: str) -> None:
        assert self.folder is not None
        folder = self.folder / str(port)
        folder.mkdir()
        (folder / "server.conf").write_text(config)
        with (folder / "server.log").open("ab") as out:
            self._processes[port] = subprocess.Popen(
                [str(find_server()), "server.conf", *args],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=partial(die_with_parent, os.getpid()),
            )
        eventually(lambda: self.info(port), what=f"port {port} answers")


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
