"""The embedded server: private, protected, durable, and gone with its parent."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from celery_legion import embedded
from celery_legion.embedded import EmbeddedValkey, NoServerError, ServerFailedError, find_server
from tests.conftest import missing
from tests.servers.polling import eventually
from tests.servers.processes import Processes

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc, which only Linux has")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A server that a test may kill, in a folder that stays."""
    server = EmbeddedValkey(tmp_path / "data")
    try:
        server.start()
    except NoServerError as exc:
        missing(str(exc))
    yield server
    server.close()


def client(server: EmbeddedValkey, db: int = 0) -> redis.Redis:
    return redis.Redis.from_url(server.url(db), decode_responses=True)


def test_it_answers_its_url_and_nobody_without_the_password(server: EmbeddedValkey) -> None:
    assert client(server).ping()
    assert client(server, 3).set("key", "value")
    assert client(server).get("key") is None
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=server.port).ping()


def test_it_keeps_what_it_has_to_keep_and_evicts_nothing(server: EmbeddedValkey) -> None:
    found = client(server).config_get("*")

    wanted = {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "bind": "127.0.0.1",
        "maxmemory-policy": "noeviction",
        "protected-mode": "yes",
        "unixsocket": "",
    }
    assert {name: found[name] for name in wanted} == wanted


@LINUX
def test_its_password_is_in_no_command_line_and_no_environment(server: EmbeddedValkey) -> None:
    place = Path(f"/proc/{server.pid}")

    assert server.password.encode() not in (place / "cmdline").read_bytes() + (place / "environ").read_bytes()


def test_its_folder_and_its_configuration_are_its_owners_alone(server: EmbeddedValkey) -> None:
    assert server.folder is not None
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((server.folder / "server.conf").stat().st_mode) == 0o600


def test_in_a_folder_open_to_all_its_password_and_data_are_still_its_owners_alone(tmp_path: Path) -> None:
    (tmp_path / "server.conf").touch(mode=0o644)
    tmp_path.chmod(0o755)
    with EmbeddedValkey(tmp_path) as server:
        client(server).set("key", "value")
        written = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "server.log"]
        assert {path.name: oct(path.stat().st_mode & 0o077) for path in written} == {
            path.name: "0o0" for path in written
        }
        assert any(path.suffix == ".aof" for path in written)


def test_it_comes_back_on_the_same_port_with_its_data_after_a_stop(server: EmbeddedValkey) -> None:
    url, pid = server.url(), server.pid
    client(server).set("key", "value")
    server.restart()

    assert (server.url(), server.pid == pid) == (url, False)
    assert client(server).get("key") == "value"


def test_it_comes_back_with_its_data_after_a_crash(server: EmbeddedValkey) -> None:
    store = client(server)
    store.set("key", "value")
    # As everysec promises: what is a second old is on the disk.
    eventually(lambda: store.info("persistence")["aof_pending_bio_fsync"] == 0, what="it is written")
    server.kill()
    with pytest.raises(redis.ConnectionError):
        store.ping()
    assert server.pid == 0
    server.start()

    assert client(server).get("key") == "value"


def test_stopping_twice_is_no_error(server: EmbeddedValkey) -> None:
    server.stop()
    server.stop()
    server.kill()

    assert server.pid == 0


def test_a_temporary_folder_goes_and_a_given_one_stays(server: EmbeddedValkey) -> None:
    with EmbeddedValkey() as other:
        temporary, given = other.folder, server.folder
        assert temporary is not None
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o700
    server.close()

    assert not temporary.exists()
    assert given is not None
    assert (given / "server.conf").exists()


@LINUX
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_dies_with_its_parent(processes: Processes, server: EmbeddedValkey, tmp_path: Path, how: int) -> None:
    code = (
        "import sys, time; from pathlib import Path; from celery_legion.embedded import EmbeddedValkey; "
        "server = EmbeddedValkey(Path(sys.argv[1])); server.start(); "
        "print('pid', server.pid, flush=True); time.sleep(60)"
    )
    parent = processes.start(sys.executable, "-c", code, str(tmp_path / "other"))
    pid = int(parent.wait_for(r"pid (\d+)").group(1))
    os.kill(parent.pid, how)

    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return True

    eventually(gone, what="the server is gone")
    assert client(server).ping()


def test_a_taken_port_is_an_error_with_what_the_server_said(tmp_path: Path, server: EmbeddedValkey) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        other = EmbeddedValkey(tmp_path / "other", port=taken.getsockname()[1])
        with pytest.raises(ServerFailedError) as caught:
            other.start()
    assert "\n" not in str(caught.value)
    assert other.password not in str(caught.value)
    assert other.pid == 0


def test_a_server_on_the_path_comes_before_the_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("redis-server", "valkey-server"):
        binary = tmp_path / name
        binary.write_text("#!/bin/sh\n")
        binary.chmod(0o755)
        assert find_server() == binary


def test_without_any_server_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    with pytest.raises(NoServerError) as caught:
        find_server()
    assert "celery-legion[embedded]" in str(caught.value)
    assert "\n" not in str(caught.value)
