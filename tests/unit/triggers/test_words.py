"""Schedules in words."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from celery_legion.triggers import Cron, Interval, Once, Restricted, Trigger, Union
from celery_legion.triggers.words import describe

EVENING = datetime(2026, 12, 1, 18, tzinfo=UTC)


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (Cron("0 2 * * 1", "Europe/Berlin"), "at 02:00 on Monday, Europe/Berlin"),
        (Cron("0 2 * * *"), "at 02:00, UTC"),
        (Cron("*/5 * * * *"), "every 5 minutes"),
        (Cron("*/5 * * * *", "Asia/Tokyo"), "every 5 minutes, Asia/Tokyo"),
        (Cron("* 9-17 * * *"), "every minute, between 09:00 and 17:59, UTC"),
        (Cron("@hourly"), "every hour"),
        (Cron("@yearly"), "at 00:00 on day 1 of the month in January, UTC"),
        (Cron("*/10 * * * * *", seconds="first"), "every 10 seconds"),
        (Cron("0 0 1,15 * mon"), "at 00:00, on day 1 and 15 of the month, or on Monday, UTC"),
        (Cron("0 0 1,15 * mon", days="and"), "at 00:00, on day 1 and 15 of the month, and only on Monday, UTC"),
        (Cron("0 16 */2 * sat"), "at 16:00, every 2 days, and only on Saturday, UTC"),
        (Cron("0 16 */2 * sat", days="or"), "at 16:00, every 2 days, or on Saturday, UTC"),
        (
            Cron("0 0 1 jan-mar mon-fri"),
            "at 00:00, on day 1 of the month, or Monday through Friday, January through March, UTC",
        ),
        (
            Cron("0 9 1-7 * mon#1"),
            "at 09:00, between day 1 and 7 of the month, and only on the first Monday of the month, UTC",
        ),
        (Cron("0 9 * * L5"), "at 09:00 on the last Friday of the month, UTC"),
        (Cron("0 0 L * *"), "at 00:00 on the last day of the month, UTC"),
        (Cron("*/60 * * * *"), "every hour"),
        (
            Cron("0 9 1-7 * */7"),
            "at 09:00, between day 1 and 7 of the month, and only on Sunday, UTC",
        ),
        (Cron("0 0 * * 5#1,5#3"), "0 0 * * 5#1,5#3, UTC"),
        (Cron("0 0 29-L * *"), "0 0 29-L * *, UTC"),
        (Interval(timedelta(seconds=90)), "every 1 minute and 30 seconds"),
        (Interval(timedelta(seconds=30)), "every 30 seconds"),
        (Interval(timedelta(hours=1)), "every hour"),
        (Interval(timedelta(milliseconds=250)), "every 250 milliseconds"),
        (Interval(timedelta(days=400)), "every 400 days"),
        (Interval(timedelta(seconds=10**12)), "every 11574074 days"),
        (Once(EVENING), "once at 2026-12-01 18:00 UTC"),
        (Once(EVENING + timedelta(seconds=5)), "once at 2026-12-01 18:00:05 UTC"),
        (Union(Cron("@hourly"), Once(EVENING)), "every hour and once at 2026-12-01 18:00 UTC"),
        (Restricted(Interval(timedelta(hours=1)), frozenset({0})), "every hour on Monday, UTC"),
        (Restricted(Cron("@daily"), frozenset({0, 1, 2, 3, 4})), "at 00:00 on weekdays, UTC"),
        (
            Restricted(Cron("@daily"), frozenset({0, 2, 6}), "Asia/Tokyo"),
            "at 00:00, UTC on Monday, Wednesday and Sunday, Asia/Tokyo",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_trigger_is_described_in_words(trigger: Trigger, words: str) -> None:
    assert describe(trigger) == words


def test_a_trigger_of_another_kind_is_shown_as_it_shows_itself() -> None:
    class Tides:
        def __str__(self) -> str:
            return "at high tide"

        def next_after(self, moment: datetime) -> datetime | None:
            return None

        def anchored(self, moment: datetime) -> Tides:
            return self

    assert describe(Tides()) == "at high tide"


def test_the_triggers_load_without_the_libraries_for_words() -> None:
    program = "import sys, celery_legion.triggers; print(sorted({'cron_descriptor', 'humanize'} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert loaded.stdout.strip() == "[]"
