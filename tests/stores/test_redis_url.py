"""A store's URL with options that redis-py does not take is refused when the store is opened, in one line."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from celery import Celery
from redis import CredentialProvider, Redis

from celery_legion.config import Config
from celery_legion.embedded import EmbeddedValkey, find_server
from celery_legion.errors import ConfigurationError
from celery_legion.stores import open_store
from celery_legion.stores.base import StoreOptions
from tests.servers.polling import eventually

SECRET = "hunter2"


@pytest.mark.parametrize(
    "query",
    [
        f"token={SECRET}",
        f"nope=x&password={SECRET}",
        "db=x",
        "max_connections=x",
        "socket_timeout=x",
        "socket_timeout=-1",
        "socket_timeout=inf",
        "socket_connect_timeout=nan",
        "protocol=x",
        "encoding=x",
        "retry=x",
        "redis_connect_func=x",
        "parser_class=x",
        "connection_class=x",
    ],
)
@pytest.mark.parametrize("base", [f"redis://:{SECRET}@localhost:1/0", f"valkey://user:{SECRET}@localhost:1"])
def test_an_option_that_is_none_or_has_no_such_value_is_refused(base: str, query: str) -> None:
    with pytest.raises(ConfigurationError, match="legion_store_url") as caught:
        open_store(StoreOptions(url=f"{base}?{query}", prefix="p"))

    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert query.partition("=")[0] in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "url", [f"redis://:{SECRET}@localhost:x/0", "redis://localhost:99999999/0", f"redis://:{SECRET}@[x"]
)
def test_so_is_a_port_that_is_none(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(StoreOptions(url=url, prefix="p"))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "rediss://user:word@localhost:1/3?ssl_cert_reqs=none",
        "valkey://localhost/0?db=2&socket_timeout=1.5&health_check_interval=10&client_name=shop",
    ],
)
def test_what_redis_py_takes_is_opened_without_talking_to_it(url: str) -> None:
    open_store(StoreOptions(url=url, prefix="p")).close()


@pytest.fixture(scope="module")
def on_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a server that listens on nothing else; its password is the secret."""
    folder = tmp_path_factory.mktemp("socket")
    path = folder / "s"
    config = folder / "server.conf"
    config.write_text(f'port 0\nunixsocket {path}\nrequirepass {SECRET}\nsave ""\n')
    server = subprocess.Popen([str(find_server()), str(config)], cwd=folder, stdout=subprocess.DEVNULL)
    eventually(path.exists, what="the socket")
    yield path
    server.kill()
    server.wait()


@pytest.mark.parametrize(
    ("scheme", "query"),
    [("redis+socket", ""), ("redis+socket", "?virtual_host=2"), ("unix", "?db=2"), ("unix", "?socket_timeout=1")],
)
def test_a_socket_is_a_server_too(on_socket: Path, scheme: str, query: str) -> None:
    app = Celery("socket", broker="memory://", set_as_current=False)
    # As a broker where it can be one, else as a store.
    app.conf.broker_url = f"redis+socket://:{SECRET}@{on_socket}{query}" if scheme == "redis+socket" else "amqp://x"
    if scheme == "unix":
        app.conf.legion_store_url = f"unix://:{SECRET}@{on_socket}{query}"
    with closing(open_store(StoreOptions(url=Config.of(app).store_url, prefix="p"))) as store:
        store.put("job", "{}")
        with Redis(unix_socket_path=str(on_socket), password=SECRET, db=2 if "2" in query else 0) as redis:
            assert redis.keys("{p}:*")
            redis.flushall()


def test_a_result_backend_on_a_socket_is_one(on_socket: Path) -> None:
    app = Celery("socket", broker="amqp://x", backend=f"redis+socket://:{SECRET}@{on_socket}", set_as_current=False)
    with closing(open_store(StoreOptions(url=Config.of(app).store_url, prefix="p"))) as store:
        assert store.now()


class Provider(CredentialProvider):
    """Knows the session's server's password."""

    password = ""

    def get_credentials(self) -> tuple[str]:
        return (self.password,)


class Needy(CredentialProvider):
    def __init__(self) -> None:
        raise RuntimeError(SECRET)


@pytest.mark.parametrize("dot", [".", ":"])
def test_a_credential_provider_is_asked(valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch, dot: str) -> None:
    monkeypatch.setattr(Provider, "password", valkey.password)
    url = f"redis://nobody:nothing@127.0.0.1:{valkey.port}/0?credential_provider={__name__}{dot}Provider"
    with closing(open_store(StoreOptions(url=url, prefix="p"))) as store:
        assert store.now()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere.Provider", "cannot be imported"),
        (f"{__name__}.Absent", "cannot be imported"),
        ("Provider", "cannot be imported"),
        (f"{__name__}.Needy", "cannot be made without arguments: RuntimeError"),
        (SECRET, "cannot be imported"),
        ("builtins.dict", "is no redis.CredentialProvider"),
    ],
)
def test_a_credential_provider_that_is_none_is_refused_when_the_store_is_opened(name: str, reason: str) -> None:
    url = f"redis://localhost:1/0?credential_provider={name}"
    with pytest.raises(ConfigurationError, match=reason) as caught:
        open_store(StoreOptions(url=url, prefix="p"))
    assert SECRET not in str(caught.value)
