"""TLS as Celery takes it: where kombu connects with an app's settings, the store does too."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from celery_legion.config import Config
from celery_legion.embedded import EmbeddedValkey
from celery_legion.errors import StoreUnavailableError
from celery_legion.stores import open_store
from celery_legion.stores.base import Store, StoreOptions
from tests.servers.tls import Certificate, TlsDoor

VERSION = ssl.TLSVersion.TLSv1_2


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def door(valkey: EmbeddedValkey, certificate: Certificate) -> Iterator[TlsDoor]:
    with TlsDoor(("127.0.0.1", valkey.port), certificate) as door:
        yield door


@pytest.fixture
def place(valkey: EmbeddedValkey, door: TlsDoor) -> str:
    """The server behind the door, as a URL without its scheme."""
    return f":{valkey.password}@127.0.0.1:{door.port}/0"


def opened(app: Celery) -> Store:
    config = Config.of(app)
    return open_store(StoreOptions(url=config.store_url, prefix="tls"))


def files(certificate: Certificate, wanted: dict[str, Any]) -> dict[str, Any]:
    return {key: str(certificate.file) if value == "CA" else value for key, value in wanted.items()}


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
@pytest.mark.parametrize(
    "use_ssl",
    [
        {"ssl_ca_certs": "CA", "ssl_cert_reqs": ssl.CERT_REQUIRED},
        {"ssl_ca_certs": "CA", "ssl_cert_reqs": "required", "ssl_min_version": VERSION, "ssl_ciphers": None},
        {"ssl_cert_reqs": ssl.CERT_NONE},
        {"ssl_cert_reqs": None, "ssl_check_hostname": False},
    ],
    ids=["constant", "text", "none", "None"],
)
def test_a_broker_with_broker_use_ssl(
    place: str, certificate: Certificate, scheme: str, use_ssl: dict[str, Any]
) -> None:
    app = Celery("tls", broker=f"{scheme}://{place}", set_as_current=False)
    app.conf.broker_use_ssl = files(certificate, use_ssl)
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=0)

    assert opened(app).now()


def test_a_result_backend_with_redis_backend_use_ssl(place: str, certificate: Certificate) -> None:
    app = Celery("tls", broker="amqp://localhost", backend=f"rediss://{place}", set_as_current=False)
    app.conf.redis_backend_use_ssl = files(certificate, {"ssl_ca_certs": "CA", "ssl_cert_reqs": ssl.CERT_REQUIRED})

    assert opened(app).now()


@pytest.mark.parametrize("check", ["CERT_REQUIRED", "required", "CERT_OPTIONAL", "optional", "CERT_NONE", "none"])
def test_a_url_that_names_the_check_as_celery_or_as_redis_py(place: str, certificate: Certificate, check: str) -> None:
    url = f"rediss://{place}?ssl_cert_reqs={check}&ssl_ca_certs={certificate.file}&ssl_min_version=TLSv1_2"
    app = Celery("tls", broker=url, set_as_current=False)

    assert opened(app).now()
    app.conf.legion_store_url = url
    assert opened(app).now()


@pytest.mark.parametrize("use_ssl", [None, True, {"ssl_cert_reqs": ssl.CERT_REQUIRED}])
def test_a_certificate_that_nobody_vouches_for_is_refused_with_what_to_do(place: str, use_ssl: Any) -> None:
    app = Celery("tls", broker=f"rediss://{place}", set_as_current=False)
    app.conf.broker_use_ssl = use_ssl

    with pytest.raises(StoreUnavailableError, match=r"CERTIFICATE_VERIFY_FAILED.*ssl_ca_certs.*ssl_cert_reqs"):
        opened(app).now()
