"""Settings: what an app's configuration says about its schedule, read once."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from enum import Enum, StrEnum
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from celery_legion.duration import DurationError, parse_duration
from celery_legion.errors import ConfigurationError, UnknownSettingError
from celery_legion.job import CatchUp, Overlap
from celery_legion.triggers.errors import TriggerError
from celery_legion.triggers.zone_object import zone_name
from celery_legion.triggers.zones import get_zone
from celery_legion.url import safe_url
from celery_legion.visibility import visibility_of

PREFIX = "legion_"
REDIS_SCHEMES = ("redis", "rediss", "valkey", "valkeys", "redis+socket")
SECURED = {"redis": "rediss", "rediss": "rediss", "valkey": "valkeys", "valkeys": "valkeys"}
UNSAFE = re.compile(r"[{}\[\]*?^\\\s]")
"""What no key prefix may hold: braces are the hash tag's, the others would make a pattern of it in a server's ACL."""

TAGGED = re.compile(r"^([^{}]+)\{([^{}]+)\}([^{}]*)$")
"""A prefix with a hash tag of its own, so that its keys begin with what a server's user is held to."""

CERTIFICATE_CHECKS = {ssl.CERT_NONE: "none", ssl.CERT_OPTIONAL: "optional", ssl.CERT_REQUIRED: "required"}
MEMORY = "memory://"
"""The store of an app whose broker is ``memory://``: no other process has its messages, so none needs its store."""

LONGEST, MOST = timedelta(days=36_500), 10**9
"""A century and a billion: beyond, moments leave the calendar, and numbers what a store can count in."""


class Secret:
    """A setting that holds a password: ``celery report`` and ``inspect conf`` print it masked."""

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        return repr(safe_url(self.value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings of one app, checked. Get them by :meth:`of`; a setting that is None in the app is unset.

    Each field is the setting ``legion_<field>``. Durations may be written as timedelta, seconds,
    or text like ``1h30m``.
    """

    store_url: str = field(repr=False)
    key_prefix: str
    timezone: str
    lock_ttl: timedelta = timedelta(hours=1)
    run_lease: timedelta = timedelta(seconds=60)
    leader_lease: timedelta = timedelta(seconds=10)
    catch_up: CatchUp = CatchUp.ONCE
    catch_up_window: timedelta = timedelta(days=1)
    overlap: Overlap = Overlap.SKIP
    ledger_size: int = 100
    ledger_total: int = 100_000
    ledger_age: timedelta = timedelta(days=14)
    dedup_age: timedelta = timedelta(days=1)
    output_limit: int = 8 * 1024
    output_total: int = 64 * 1024 * 1024
    late_after: timedelta = timedelta(seconds=60)
    modules: tuple[str, ...] = ("schedule",)
    store_timeout: timedelta = timedelta(seconds=2)
    broker_timeout: timedelta = timedelta(seconds=4)

    @classmethod
    def of(cls, app: Any) -> Config:
        """Read the settings of *app*, also those given under a namespace (``CELERY_LEGION_STORE_URL``).

        Raises:
            ConfigurationError: A setting has a value that cannot work, or no store is named.
            UnknownSettingError: A ``legion_*`` key is no setting.
        """
        values = read_settings(app)
        values.setdefault("timezone", app_timezone(app))
        values.setdefault("key_prefix", f"legion:{UNSAFE.sub('_', app_name(app))}")
        values.setdefault("dedup_age", max(timedelta(days=1), 2 * visibility_of(app).span))
        if "store_url" not in values:
            values["store_url"] = _find_store(app)
        config = cls(**values)
        config._check()
        return config

    def _check(self) -> None:
        if self.leader_lease <= self.broker_timeout + timedelta(seconds=1):
            expected = f"longer than legion_broker_timeout and a second ({self.broker_timeout + timedelta(seconds=1)})"
            raise ConfigurationError("legion_leader_lease", expected, str(self.leader_lease))
        for name in ("leader_lease", "run_lease"):
            if getattr(self, name) <= 2 * self.store_timeout:
                expected = f"longer than twice legion_store_timeout ({2 * self.store_timeout})"
                raise ConfigurationError(PREFIX + name, expected, str(getattr(self, name)))


def read_settings(app: Any) -> dict[str, Any]:
    """Return the settings that *app*'s configuration gives, checked one by one, without defaults.

    Hides a store URL's password from Celery's own listings of the configuration.

    Raises:
        ConfigurationError: A value is of a wrong kind.
        UnknownSettingError: A ``legion_*`` key is no setting.
    """
    hide_password(app)
    return {name: _checked(name, value) for name, (_, value) in _given(app).items() if value is not None}


def _checked(name: str, value: object) -> object:
    if not isinstance(value, Secret):
        return PARSERS[name](PREFIX + name, value)
    try:
        return PARSERS[name](PREFIX + name, value.value)
    except ConfigurationError as exc:
        if exc.got != value.value:
            raise
        raise ConfigurationError(exc.setting, exc.expected, value) from None


def hide_password(app: Any) -> None:
    """Put URLs with a password into a :class:`Secret`, so that listings of the configuration mask them."""
    # In every key of ours: also in one that is misspelt, which is refused only when the settings are read.
    for key, value in _written(app).values():
        if isinstance(value, str) and safe_url(value) != value:
            app.conf[key] = Secret(value)


def app_name(app: Any) -> str:
    """Return the app's name, or ``celery`` for one that has none of its own."""
    return str(app.main) if app.main and app.main != "__main__" else "celery"


def app_timezone(app: Any) -> str:
    """Return the name of the app's time zone: its ``timezone`` setting, else UTC or this machine's zone.

    Raises:
        ConfigurationError: Its offsets cannot be known.
    """
    zone = app.timezone
    try:
        name = zone_name(zone)
    except TriggerError as exc:
        raise ConfigurationError("timezone", f"a time zone that says its offsets ({exc})", zone) from exc
    if name is None:
        raise ConfigurationError("timezone", "an IANA name such as 'Europe/Berlin', or a tzinfo", zone)
    return name


def cron_deadline(app: Any) -> timedelta | None:
    """Return how long after its time a crontab of ``beat_schedule`` may still run: ``beat_cron_starting_deadline``.

    Raises:
        ConfigurationError: It is no number of seconds.
    """
    seconds = app.conf.beat_cron_starting_deadline
    if seconds is None:
        return None
    try:
        span = timedelta(seconds=seconds)
    except (TypeError, OverflowError, ValueError):
        span = timedelta(-1)
    if span < timedelta(0):
        raise ConfigurationError("beat_cron_starting_deadline", "a number of seconds, or None", seconds)
    return span


def _given(app: Any) -> dict[str, tuple[str, Any]]:
    """Return setting name → (the key as written, its value) of all ``legion_*`` keys.

    Raises:
        UnknownSettingError: One of them is no setting.
    """
    given = _written(app)
    for name, (key, _) in given.items():
        if name not in PARSERS:
            raise UnknownSettingError(key.lower(), _like(key.lower(), name))
    return given


def _written(app: Any) -> dict[str, tuple[str, Any]]:
    app.conf.finalize()
    namespace = (app.conf.prefix or "").lower()
    given: dict[str, tuple[str, Any]] = {}
    for mapping in app.conf.maps:
        for key in mapping:
            if not isinstance(key, str):
                continue
            name = key.lower()
            if namespace and name.startswith(namespace):
                name = name.removeprefix(namespace)
            elif namespace and key != name:
                continue
            if name.startswith(PREFIX):
                given.setdefault(name.removeprefix(PREFIX), (key, mapping[key]))
    return given


def _like(key: str, name: str) -> list[str]:
    start = key.removesuffix(name)
    return [start + known for known in PARSERS]


def _find_store(app: Any) -> str:
    """The broker if it is a Redis, the memory for a broker in memory, else a Redis result backend."""
    brokers = _urls(app.conf.broker_write_url)
    backend = app.conf.result_backend
    if brokers and all(_scheme(url) == "memory" for url in brokers):
        return MEMORY
    if len(brokers) == 1 and _scheme(brokers[0]) in REDIS_SCHEMES:
        return _secured(_readable("broker_url", brokers[0]), app.conf.broker_use_ssl)
    if isinstance(backend, str) and _scheme(backend) in REDIS_SCHEMES:
        return _secured(_readable("result_backend", backend), app.conf.redis_backend_use_ssl)
    if not brokers and not backend:
        expected = "set to a Redis or Valkey such as 'redis://localhost:6379/0' (or legion_store_url to one)"
        hint = "without, `celery legion dev` brings one along, for other commands too while it runs"
        raise ConfigurationError("broker_url", f"{expected}; {hint}", None)
    if len(brokers) > 1:
        problem = "broker_url lists several servers and the state of the schedule needs one"
    elif brokers and _scheme(brokers[0]).startswith("sentinel"):
        problem = "a sentinel broker does not say which server is meant"
    else:
        problem = "neither broker_url nor result_backend is a Redis or Valkey"
    raise ConfigurationError(PREFIX + "store_url", f"set to a URL such as 'redis://localhost:6379/0' ({problem})", None)


def _scheme(url: str) -> str:
    """The scheme of a URL, also of one that cannot be read; empty for a host's name, which AMQP's may be."""
    scheme, mark, _ = url.partition("://")
    return scheme.lower() if mark else ""


def _urls(broker: Any) -> list[str]:
    """The servers of a broker setting: a text, several with ``;`` between them, or a list."""
    texts = [broker] if isinstance(broker, str) else list(broker or ())
    return [url.strip() for text in texts for url in str(text).split(";") if url.strip()]


def _secured(url: str, use_ssl: Any) -> str:
    """Return *url* with what kombu's ``use_ssl`` setting adds to it, in redis-py's terms."""
    parts = urlsplit(url)
    if not use_ssl or parts.scheme not in SECURED:
        return url
    query = dict(parse_qsl(parts.query))
    for key, value in (use_ssl if isinstance(use_ssl, Mapping) else {}).items():
        if value is not None or key == "ssl_cert_reqs":
            query.setdefault(str(key), _as_parameter(str(key), value))
    return urlunsplit(parts._replace(scheme=SECURED[parts.scheme], query=urlencode(query)))


def _as_parameter(key: str, value: object) -> str:
    """Return one of the values of ``use_ssl`` as text in a URL: numbers of the ssl module by their names."""
    if key == "ssl_cert_reqs":
        return "none" if value is None else CERTIFICATE_CHECKS.get(cast(Any, value), str(value))
    if isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(_as_parameter(key, one) for one in value)
    return value.name if isinstance(value, Enum) else str(value)


def _duration(setting: str, value: object) -> timedelta:
    try:
        duration = parse_duration(value)
    except DurationError:
        duration = timedelta(0)
    if not timedelta(milliseconds=1) <= duration <= LONGEST:
        raise ConfigurationError(setting, "a positive duration such as 90, '90s' or '1h30m', at most a century", value)
    return duration


def _count(setting: str, value: object) -> int:
    number = int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value, re.ASCII) else value
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= MOST:
        raise ConfigurationError(setting, f"a positive whole number, at most {MOST}", value)
    return number


def _zone(setting: str, value: object) -> str:
    try:
        name = value if isinstance(value, str) else zone_name(value)
        get_zone(name or "")
    except TriggerError:
        raise ConfigurationError(setting, "an IANA time zone such as 'Europe/Berlin'", value) from None
    return str(name)


def _url(setting: str, value: object) -> str:
    if not isinstance(value, str) or "://" not in value:
        # What is no URL may still hold a password: it is not shown.
        raise ConfigurationError(setting, "a URL such as 'redis://localhost:6379/0'", type(value).__name__)
    if ";" in value:
        raise ConfigurationError(setting, "the URL of one server", ";".join(map(safe_url, value.split(";"))))
    return _readable(setting, value)


def _readable(setting: str, url: str) -> str:
    """Refuse a URL whose password ends its host's part: what would fail on it later would show some of it."""
    try:
        parts = urlsplit(url)
        readable = parts.port != 0 and "@" not in f"{parts.path}{parts.fragment}"
    except ValueError:
        readable = False
    if not readable:
        expected = "a URL that can be read (in a password, write / as %2F, # as %23, ? as %3F, @ as %40)"
        raise ConfigurationError(setting, expected, safe_url(url))
    return url


def is_prefix(value: object) -> bool:
    """Return whether *value* can begin the keys of a store."""
    text = TAGGED.sub(r"\1\2\3", value) if isinstance(value, str) else ""
    return bool(text) and not UNSAFE.search(text) and text.isprintable()


def _prefix(setting: str, value: object) -> str:
    if not is_prefix(value):
        expected = "a text without spaces, control characters and any of []*?^\\, and without braces but for one pair "
        raise ConfigurationError(setting, expected + "behind the text's begin, as in 'shop:{legion}'", value)
    return str(value)


def _modules(setting: str, value: object) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, (list, tuple, set)) else ()
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ConfigurationError(setting, "a module's name such as 'schedule', or a list of them", value)
    return names


def _choice(known: type[StrEnum]) -> Callable[[str, object], StrEnum]:
    def parse(setting: str, value: object) -> StrEnum:
        if value not in list(known):
            raise ConfigurationError(setting, f"one of {', '.join(known)}", value)
        return known(str(value))

    return parse


PARSERS: dict[str, Callable[[str, object], object]] = {
    spec.name: {"timedelta": _duration, "int": _count}.get(str(spec.type), _url) for spec in fields(Config)
} | {
    "store_url": _url,
    "key_prefix": _prefix,
    "timezone": _zone,
    "catch_up": _choice(CatchUp),
    "overlap": _choice(Overlap),
    "modules": _modules,
}
"""Setting name → its check, which returns the value a :class:`Config` holds."""
