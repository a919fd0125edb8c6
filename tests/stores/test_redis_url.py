"""A store's URL with options that redis-py does not take is refused when the store is opened, in one line."""

from __future__ import annotations

import pytest

from celery_legion.errors import ConfigurationError
from celery_legion.stores import open_store
from celery_legion.stores.base import StoreOptions

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
