"""Time zone objects, with and without a name of IANA's: each is read with the offsets that it has."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from io import BytesIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.schedules import crontab
from dateutil import tz

from celery_legion import Legion
from celery_legion.config import Config
from celery_legion.errors import ConfigurationError
from celery_legion.triggers import Cron, TriggerError
from celery_legion.triggers.zone_object import zone_name
from celery_legion.triggers.zones import get_zone

MOMENTS = [datetime(2026, month, 10, 12, tzinfo=UTC) for month in range(1, 13)]
EASTERN = "EST5EDT4,M3.2.0,M11.1.0"


class Fixed(tzinfo):
    """A project's own zone, without a name."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=5, minutes=45)

    def dst(self, moment: datetime | None) -> timedelta:
        return timedelta(0)


class Misnamed(Fixed):
    """A fixed offset that calls itself by a place, and cannot be shown."""

    key = "Europe/Berlin"

    def __str__(self) -> str:
        raise ZeroDivisionError

    __repr__ = __str__


class Kathmandu(Fixed):
    """A zone of another library, called as IANA calls it."""

    zone = "Asia/Kathmandu"


class Mute(tzinfo):
    """A zone that cannot say its offset."""


def nameless() -> ZoneInfo:
    """What ``ZoneInfo.from_file`` makes without a key: here two days in 2026 that are an hour ahead."""
    made = get_zone(zone_name(tz.tzrange("A", 3600, "B", 7200)) or "")
    assert made.utcoffset(datetime(2026, 7, 1)) == timedelta(hours=2)
    file = BytesIO(
        b"TZif2" + bytes(15) + bytes(20) + b"\0\0\0\0"
        + b"TZif2" + bytes(15) + bytes(12) + b"\0\0\0\0\0\0\0\1\0\0\0\4" + b"\0\0\x1c\x20\0\0XYZ\0" + b"\nXYZ-2\n"
    )  # fmt: skip
    return ZoneInfo.from_file(file)


@pytest.mark.parametrize(
    ("zone", "name"),
    [
        (UTC, "UTC"),
        (timezone(timedelta(0)), "UTC"),
        (tz.tzutc(), "UTC"),
        (timezone(timedelta(hours=3)), "UTC+03:00"),
        (timezone(-timedelta(hours=9, minutes=30)), "UTC-09:30"),
        (timezone(timedelta(hours=3), "MSK"), "UTC+03:00"),
        (tz.tzoffset("MSK", 10800), "UTC+03:00"),
        (tz.tzoffset(None, 10805), "UTC+03:00:05"),
        (Fixed(), "UTC+05:45"),
        (Misnamed(), "UTC+05:45"),
        (timezone(timedelta(hours=2), "UTC"), "UTC+02:00"),
        (ZoneInfo.no_cache("Asia/Tokyo"), "Asia/Tokyo"),
        (Kathmandu(), "Asia/Kathmandu"),
        (nameless(), "UTC+02:00"),
        (ZoneInfo("Europe/Berlin"), "Europe/Berlin"),
        (tz.gettz("Europe/Berlin"), "Europe/Berlin"),
        (None, None),
        ("Europe/Berlin", None),
    ],
)
def test_a_zone_goes_by_its_name_or_its_offset(zone: Any, name: str | None) -> None:
    assert zone_name(zone) == name


@pytest.mark.parametrize(
    "zone", [tz.tzstr(EASTERN), tz.tzrange("A", 3600, "B", 7200), tz.tzrange("A", 3600, "B", 10800), Fixed()]
)
def test_a_zone_without_a_name_keeps_its_offsets(zone: tzinfo) -> None:
    made = get_zone(zone_name(zone) or "")

    for moment in MOMENTS:
        assert moment.astimezone(made).utcoffset() == moment.astimezone(zone).utcoffset()


def test_daylight_saving_of_a_zone_without_a_name_is_that_of_the_zone() -> None:
    mine, theirs = Cron("30 1 * * *", zone_name(tz.tzstr(EASTERN)) or ""), Cron("30 1 * * *", "America/New_York")
    moment = datetime(2026, 10, 30, tzinfo=UTC)
    for _ in range(5):
        moment = theirs.next_after(moment) or moment
        assert mine.next_after(moment - timedelta(hours=5)) == moment


def test_two_zones_that_call_themselves_alike_are_two() -> None:
    one, other = tz.tzrange("A", 3600, "B", 7200), tz.tzrange("A", 3600, "B", 10800)

    assert repr(one) == repr(other)
    assert zone_name(one) != zone_name(other)


def test_a_zone_that_cannot_say_its_offsets_is_refused() -> None:
    with pytest.raises(TriggerError, match="ZoneInfo"):
        zone_name(Mute())


@pytest.mark.parametrize("name", ["UTC+3", "UTC+24:00", "utc+03:00", "UTC+03:60", "+03:00"])
def test_an_offset_has_one_way_of_being_written(name: str) -> None:
    with pytest.raises(TriggerError, match="unknown"):
        get_zone(name)


def shop(zone: Any, **entries: Any) -> Any:
    app = Celery("shop", broker="redis://localhost:6379/0", set_as_current=False)
    app.conf.timezone = zone
    app.conf.beat_schedule = {"report": {"task": "t", "schedule": crontab(hour=9, minute=0)}}
    return app


@pytest.mark.parametrize(
    ("zone", "hour"),
    [
        (timezone(timedelta(hours=3)), 6),
        (tz.gettz("Asia/Tokyo"), 0),
        (tz.tzoffset("MSK", 10800), 6),
        (Fixed(), 3),
        ("Asia/Tokyo", 0),
    ],
)
def test_a_crontab_is_in_the_apps_zone_whatever_object_that_is(zone: Any, hour: int) -> None:
    fire = Legion(shop(zone)).jobs["report"].trigger.next_after(datetime(2026, 3, 1, 12, tzinfo=UTC))

    assert fire is not None
    assert fire.hour == hour


def test_a_zone_of_the_apps_that_cannot_say_its_offsets_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigurationError, match="timezone"):
        Config.of(shop(Mute()))


def test_a_crontabs_own_zone_may_be_a_name_or_an_object() -> None:
    app = shop("UTC")
    for name, zone in (("name", "Asia/Tokyo"), ("object", timezone(timedelta(hours=9))), ("wrong", 9)):
        made = crontab(hour=9, minute=0)
        made.tz = zone
        app.conf.beat_schedule[name] = {"task": "t", "schedule": made}

    jobs, moment = Legion(app).jobs, datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert jobs["name"].trigger.next_after(moment) == jobs["object"].trigger.next_after(moment)
    assert "no time zone" in jobs["wrong"].problem


def test_the_fluent_zone_may_be_an_object() -> None:
    legion = Legion(shop("UTC"))
    legion.task("t").name("job").daily_at("9:00").timezone(ZoneInfo("Asia/Tokyo"))

    assert legion.jobs["job"].trigger == Cron("0 9 * * *", "Asia/Tokyo")


@pytest.fixture
def variable(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("MSK-3", "UTC+03:00"), ("<+03>-3", "UTC+03:00"), ("UTC+3", "UTC-03:00"), ("Europe/Berlin", "Europe/Berlin"),
        (EASTERN, f"TZ={EASTERN}"), ("Nowhere/City", "UTC"),
    ],
    indirect=["variable"],
)  # fmt: skip
def test_the_machines_zone_is_what_its_c_library_says(variable: str, name: str) -> None:
    from celery.utils.time import LocalTimezone

    assert os.environ["TZ"] == variable
    assert zone_name(LocalTimezone()) == name
    made = get_zone(name)
    for moment in MOMENTS:
        local = time.localtime(moment.timestamp())
        assert moment.astimezone(made).utcoffset() == timedelta(seconds=local.tm_gmtoff)
