"""What lies on a disk or listens on a port beside the schedule: for its owner alone, and for this machine alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import sys
from contextlib import closing
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from celery_legion.embedded import EmbeddedValkey
from tests.servers.polling import eventually
from tests.servers.processes import ROOT, Processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc, which only Linux has")

LOOPBACK = {"0100007F"}
LISTENS = "0A"
ONCE = Retry(NoBackoff(), 0)
APP = """
from celery import Celery
from celery_legion import Legion
app = Celery("private")
legion = Legion(app)
legion.command("echo hello").every_second().name("hello")
"""


def descriptors(pid: int) -> set[str]:
    """Return what a process's descriptors lead to; nothing of one that has ended."""
    found = set()
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            found.add(os.readlink(descriptor))
    except OSError:
        pass
    return found


def listening(pid: int) -> set[tuple[str, int]]:
    """Return the addresses (in hexadecimal) and ports at which a process listens, over IPv4 and IPv6."""
    sockets = descriptors(pid)
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTENS and f"socket:[{words[9]}]" in sockets:
                address, _, port = words[1].partition(":")
                found.add((address, int(port, 16)))
    return found


def unix_sockets(pid: int) -> set[str]:
    """Return the paths of the Unix sockets at which a process listens."""
    own = descriptors(pid)
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return {words[7] for words in lines if len(words) > 7 and f"socket:[{words[6]}]" in own}


def open_to_others(folder: Path) -> dict[str, str]:
    """Return what in a folder, itself included, anybody but its owner may read, write or enter."""
    modes = {path: path.lstat().st_mode for path in (folder, *folder.rglob("*"))}
    return {str(path): oct(mode) for path, mode in modes.items() if mode & 0o077 and not stat.S_ISLNK(mode)}


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_the_embedded_server_is_its_owners_alone_whatever_the_umask(umask: int) -> None:
    before = os.umask(umask)
    try:
        server = EmbeddedValkey()
        server.start()
    finally:
        os.umask(before)
    with closing(server):
        folder = server.folder
        assert folder is not None
        with redis.Redis.from_url(server.url()) as client:
            client.set("key", "value")
            client.bgrewriteaof()
            eventually(lambda: not client.info("persistence")["aof_rewrite_in_progress"], what="the file is rewritten")
            settings = client.config_get("*")
        assert open_to_others(folder) == {}
        assert {path.name for path in folder.iterdir()} >= {"server.conf", "server.log", "appendonlydir"}
        assert listening(server.pid) == {("0100007F", server.port)}
        assert unix_sockets(server.pid) == set()
        assert (settings["dir"], settings["pidfile"]) == (str(folder), "")
        # Neither is there another door: no cluster bus, no debugging, no modules, no change of protected settings.
        assert settings["enable-debug-command"] == settings["enable-module-command"] == "no"
        assert settings["enable-protected-configs"] == "no"
        assert len(server.password) >= 32
        with redis.Redis(port=server.port, retry=ONCE) as stranger:
            for command in (("PING",), ("INFO",), ("CONFIG", "GET", "*"), ("FLUSHALL",), ("EVAL", "return 1", "0")):
                with pytest.raises(redis.AuthenticationError):
                    stranger.execute_command(*command)
        with (
            redis.Redis(port=server.port, password=server.password[:-1], retry=ONCE) as guesser,
            pytest.raises(redis.AuthenticationError),
        ):
            guesser.ping()
        for address in addresses_of_this_machine():
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((address, server.port), timeout=2)
    assert not folder.exists()


def addresses_of_this_machine() -> list[str]:
    """Return an address of this machine that is not loopback's, if it has one; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return []
        address: str = probe.getsockname()[0]
    return [] if address.startswith("127.") else [address]


def test_each_server_has_a_password_of_its_own() -> None:
    passwords = {EmbeddedValkey().password for _ in range(100)}
    assert len(passwords) == 100
    # Letters, digits, - and _ say six bits each: far over the 128 that are enough.
    assert all(
        len(password) * 6 >= 128 and password.replace("-", "").replace("_", "").isalnum() for password in passwords
    )


@pytest.mark.e2e
def test_dev_tells_its_server_to_its_own_user_alone(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "private_app.py").write_text(APP)
    runtime, temporary = tmp_path / "runtime", tmp_path / "temporary"
    for folder in (runtime, temporary):
        folder.mkdir(mode=0o777)
        folder.chmod(0o777)
    env = {
        "PYTHONPATH": f"{ROOT}:{tmp_path}",
        "XDG_RUNTIME_DIR": str(runtime),
        "TMPDIR": str(temporary),
        "CELERY_BROKER_URL": "",
    }
    code = "import os, sys; os.umask(0); os.execv(sys.executable, [sys.executable, '-m', 'celery', *sys.argv[1:]])"
    dev = processes.start(
        sys.executable, "-c", code, "-A", "private_app", "legion", "dev", "--for", "60", "-c", "1", env=env, name="dev"
    )
    note = runtime / "celery-legion" / "private.json"
    url = eventually(lambda: note.exists() and json.loads(note.read_text())["url"], 30, "the note")
    dev.wait_for("hello: hello", 40)

    assert open_to_others(note.parent) == {}
    [data] = temporary.glob("legion-dev-*")
    assert open_to_others(data) == {}
    password = url.partition("://:")[2].partition("@")[0]
    assert len(password) >= 32
    own = children(dev.pid)
    commands = b"".join(command for _, command in own)
    assert b"valkey-server" in commands or b"redis-server" in commands
    assert password.encode() not in commands
    # No process of it listens to anybody else: neither server, scheduler nor worker.
    assert {address for pid, _ in own for address, _ in listening(pid)} == LOOPBACK
    dev.signal(signal.SIGINT)
    assert dev.wait(30) == 0
    assert password not in dev.output
    assert not note.exists() and not data.exists()
    assert [
        path for path in temporary.rglob("*") if path.is_file() and password in path.read_text(errors="replace")
    ] == []


def children(pid: int) -> list[tuple[int, bytes]]:
    """Return the ids and command lines of a process and of all that it has started, as far as they are alive."""
    try:
        found = [(pid, Path(f"/proc/{pid}/cmdline").read_bytes())]
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += children(int(child))
    except OSError:
        return []
    return found
