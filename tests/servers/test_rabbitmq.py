"""RabbitMQ for the fault scenarios: private, durable, and gone without a trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection

from tests.conftest import missing
from tests.servers import rabbitmq
from tests.servers.polling import eventually
from tests.servers.rabbitmq import NoRabbitError, RabbitMQ


def put(url: str, body: str) -> None:
    with Connection(url, transport_options={"confirm_publish": True}) as connection:
        queue = connection.SimpleQueue("kept")
        queue.put(body)
        queue.close()


def take(url: str) -> str:
    with Connection(url) as connection:
        queue = connection.SimpleQueue("kept")
        message = queue.get(timeout=10)
        message.ack()
        queue.close()
        return str(message.payload)


@pytest.fixture
def rabbit() -> Iterator[RabbitMQ]:
    rabbit = RabbitMQ()
    try:
        rabbit.start()
    except NoRabbitError as exc:
        missing(str(exc))
    yield rabbit
    rabbit.close()


@pytest.mark.e2e
@pytest.mark.faults
def test_it_keeps_confirmed_messages_over_a_kill_and_a_restart_and_leaves_nothing_behind(rabbit: RabbitMQ) -> None:
    port, folder = rabbit.port, rabbit.folder
    assert folder is not None
    assert rabbit.pid in rabbit.processes()
    assert Path(f"/proc/{rabbit.pid}/comm").read_text().strip() == "beam.smp"

    put(rabbit.url(), "over a kill")
    rabbit.kill9()
    with pytest.raises(ConnectionRefusedError), Connection(rabbit.url()) as connection:
        connection.connect()
    rabbit.start()
    assert rabbit.port == port
    assert take(rabbit.url()) == "over a kill"

    put(rabbit.url(), "over a restart")
    rabbit.restart()
    assert take(rabbit.url()) == "over a restart"

    before = rabbit.processes()
    assert len(before) >= 2
    rabbit.close()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in before), what="its processes are gone")
    assert not folder.exists()


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rabbitmq, "SERVER", tmp_path / "none")
    with pytest.raises(NoRabbitError, match="apt-get install rabbitmq-server"):
        RabbitMQ().start()
