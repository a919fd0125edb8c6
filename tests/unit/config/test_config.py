"""The settings, read once and checked."""

from __future__ import annotations

import ssl
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from celery_legion import Legion
from celery_legion.config import Config
from celery_legion.errors import ConfigurationError, UnknownSettingError
from celery_legion.job import CatchUp

REDIS = "redis://localhost:6379/0"


def config(main: str | None = "shop", broker: str = REDIS, **settings: Any) -> Config:
    app = Celery(main, broker=broker, set_as_current=False)
    app.conf.update(settings)
    return Config.of(app)


def test_the_defaults_are_the_documented_ones() -> None:
    made = config()

    assert made.store_url == REDIS
    assert made.key_prefix == "legion:shop"
    assert made.timezone == "UTC"
    assert (made.lock_ttl, made.run_lease, made.leader_lease) == (
        timedelta(hours=1),
        timedelta(seconds=60),
        timedelta(seconds=10),
    )
    assert (made.catch_up, made.catch_up_window) == (CatchUp.ONCE, timedelta(days=1))
    assert (made.store_timeout, made.broker_timeout) == (timedelta(seconds=2), timedelta(seconds=4))
    assert made.dedup_age == timedelta(days=1)


@pytest.mark.parametrize("value", [90, 90.0, "90s", "1m30s", timedelta(seconds=90)])
def test_a_duration_may_be_written_in_several_ways(value: object) -> None:
    assert config(legion_run_lease=value).run_lease == timedelta(seconds=90)


def test_settings_are_found_under_a_namespace() -> None:
    app = Celery("shop", broker=REDIS, set_as_current=False)
    app.config_from_object({"CELERY_LEGION_RUN_LEASE": "90s", "CELERY_BROKER_URL": REDIS}, namespace="CELERY")

    assert Config.of(app).run_lease == timedelta(seconds=90)


def test_the_store_is_the_broker_or_the_result_backend_or_what_is_set() -> None:
    assert config(broker="amqp://localhost", result_backend="redis://results/1").store_url == "redis://results/1"
    assert config(broker="amqp://localhost", legion_store_url="valkey://x/2").store_url == "valkey://x/2"
    with pytest.raises(ConfigurationError, match="legion_store_url"):
        config(broker="amqp://localhost")


@pytest.mark.parametrize("broker", ["memory://", "memory://localhost//", ["memory://", "memory://"]])
@pytest.mark.parametrize("backend", [None, "cache+memory://", REDIS])
def test_a_broker_in_memory_has_its_store_there_too(broker: Any, backend: str | None) -> None:
    assert config(broker=broker, result_backend=backend).store_url == "memory://"
    assert config(broker=broker, legion_store_url=REDIS).store_url == REDIS


def test_done_memory_outlives_every_delivery_of_a_message() -> None:
    made = config(broker_transport_options={"visibility_timeout": 24 * 3600})

    assert made.dedup_age == timedelta(days=2)


def test_an_unknown_setting_says_what_was_meant() -> None:
    with pytest.raises(UnknownSettingError, match="did you mean 'legion_run_lease'"):
        config(legion_run_leese=5)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("legion_run_lease", -5, "positive duration"),
        ("legion_run_lease", "soon", "positive duration"),
        ("legion_ledger_size", 0, "positive whole number"),
        ("legion_catch_up", "maybe", "skip, once, all"),
        ("legion_overlap", "perhaps", "skip, allow"),
        ("legion_timezone", "Europe/Berln", "IANA time zone"),
        ("legion_key_prefix", "a b", "without spaces"),
        ("legion_store_url", "localhost", "a URL"),
        ("legion_leader_lease", 4, "legion_broker_timeout"),
    ],
)
def test_a_value_that_cannot_work_is_refused_in_one_line(setting: str, value: object, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        config(**{setting: value})
    assert setting in str(caught.value)
    assert "\n" not in str(caught.value)


def test_zero_is_a_value_and_not_a_missing_one() -> None:
    with pytest.raises(ConfigurationError):
        config(legion_ledger_total=0)


def test_a_password_shows_nowhere() -> None:
    secret = "s3cr3t"
    app = Celery("shop", broker=REDIS, set_as_current=False)
    app.conf.legion_store_url = f"redis://:{secret}@localhost/0"
    made = Config.of(app)

    assert made.store_url.endswith("@localhost/0")
    assert secret in made.store_url
    assert secret not in repr(made)
    assert secret not in app.conf.humanize(with_defaults=False)


def test_a_password_is_masked_as_soon_as_celery_has_its_configuration() -> None:
    app = Celery("shop", broker=REDIS, set_as_current=False)
    app.conf.legion_store_url = "redis://:s3cr3t@localhost/0"
    Legion(app)

    assert "s3cr3t" not in app.conf.humanize(with_defaults=False)
    assert "s3cr3t" not in str(app.conf.table(with_defaults=False))
    assert Config.of(app).store_url == "redis://:s3cr3t@localhost/0"


def test_a_password_is_masked_under_a_namespace_too() -> None:
    app = Celery("shop", set_as_current=False)
    app.config_from_object({"CELERY_LEGION_STORE_URL": "redis://:s3cr3t@localhost/0"}, namespace="CELERY")

    assert Config.of(app).store_url == "redis://:s3cr3t@localhost/0"
    assert "s3cr3t" not in app.conf.humanize(with_defaults=False)


def test_no_error_shows_a_password() -> None:
    for url in ("redis://:s3cr3t@one;redis://:s3cr3t@two", "user:s3cr3t@host"):
        with pytest.raises(ConfigurationError) as caught:
            config(legion_store_url=url)
        assert "s3cr3t" not in str(caught.value)


def test_an_unknown_setting_under_a_namespace_is_named_as_it_was_written() -> None:
    app = Celery("shop", broker=REDIS, set_as_current=False)
    app.config_from_object({"CELERY_LEGION_RUN_LEESE": 1}, namespace="CELERY")

    with pytest.raises(UnknownSettingError, match="did you mean 'celery_legion_run_lease'"):
        Config.of(app)


@pytest.mark.parametrize("broker", [f"{REDIS};redis://other", [REDIS, "redis://other"], "sentinel://one:26379"])
def test_a_broker_of_several_servers_names_no_store(broker: Any) -> None:
    with pytest.raises(ConfigurationError, match="legion_store_url") as caught:
        config(broker=broker)
    assert "server" in str(caught.value)


@pytest.mark.parametrize("host", ["redis", "memory"])
def test_a_broker_that_is_named_by_its_host_is_no_store(host: str) -> None:
    with pytest.raises(ConfigurationError, match="neither broker_url nor result_backend"):
        config(broker=host)


def test_a_broker_over_tls_makes_a_store_over_tls() -> None:
    made = config(broker_use_ssl={"ssl_cert_reqs": ssl.CERT_NONE, "ssl_ca_certs": "/ca.pem"})

    assert made.store_url == "rediss://localhost:6379/0?ssl_cert_reqs=none&ssl_ca_certs=%2Fca.pem"


@pytest.mark.parametrize("main", [None, "", "__main__"])
def test_an_app_without_a_name_has_a_prefix_all_the_same(main: str | None) -> None:
    assert config(main=main).key_prefix == "legion:celery"


def test_a_setting_that_is_none_is_unset() -> None:
    assert config(legion_run_lease=None).run_lease == timedelta(seconds=60)


@pytest.mark.parametrize("prefix", ["shop:{legion}", "shop:{a:b}:c"])
def test_a_prefix_may_have_a_hash_tag_of_its_own(prefix: str) -> None:
    assert config(legion_key_prefix=prefix).key_prefix == prefix


@pytest.mark.parametrize(
    "prefix", ["{a}", "{a}b", "a{}", "a{b", "a}b{", "a{b}{c}", "a{{b}}", "a{b}*", "a*{b}", "a{b }"]
)
def test_other_braces_are_refused_in_a_prefix(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="legion_key_prefix"):
        config(legion_key_prefix=prefix)


@pytest.mark.parametrize("visibility", [float("inf"), float("nan"), 10**13, 10**400, "for ever", None, timedelta.max])
def test_a_visibility_timeout_without_an_end_keeps_ids_for_a_day(visibility: object) -> None:
    made = config(broker_transport_options={"visibility_timeout": visibility})

    assert made.dedup_age == timedelta(days=1)


@pytest.mark.parametrize("name", ["lock_ttl", "run_lease", "catch_up_window", "dedup_age", "store_timeout"])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**12, timedelta.max, "99999d"])
def test_a_duration_beyond_a_century_is_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match="at most a century"):
        config(**{f"legion_{name}": value})


@pytest.mark.parametrize("value", [10**10, 10**400, "99999999999", float("inf"), float("nan")])
def test_a_count_beyond_all_measure_is_refused(value: object) -> None:
    with pytest.raises(ConfigurationError, match="whole number"):
        config(legion_ledger_size=value)
