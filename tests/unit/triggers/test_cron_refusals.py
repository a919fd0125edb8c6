"""What a cron expression may not be, and what the refusal says."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime

import pytest

from celery_legion.errors import LegionError
from celery_legion.triggers import Cron, TriggerError
from celery_legion.triggers.errors import CronError, UnknownZoneError

REFUSALS = [
    ("0 0 30 2 *", "no date matches day-of-month '30', month '2' and day-of-week '*'; name a day that exists"),
    ("0 0 31 4,6,9,11 *", "no date matches day-of-month '31', month '4,6,9,11'"),
    ("0 0 1 1 * * 2030", "7 fields instead of five; write minute, hour"),
    ("* * * *", "4 fields instead of five"),
    ("", "0 fields instead of five"),
    ("@fortnightly", "no such alias; use one of @hourly, @daily"),
    ("0 0 15 * fri#2", "the day-of-week field 'fri#2' has '#' or 'L' while day-of-month is restricted too; pass days="),
    ("0 0 1 * L5", "the day-of-week field 'l5' has '#' or 'L' while day-of-month is restricted too"),
    ("0 0 1-7 * fri#1,L5", "the day-of-week field 'fri#1,l5' has '#' or 'L' while day-of-month is restricted too"),
    ("0 0 15W * mon", "the day-of-month field '15w' has 'W' while day-of-week is restricted too"),
    ("0 0 5-1 * *", "the day-of-month field '5-1' has a reversed range '5-1'; write '5-31,1-1'"),
    ("0 0 20,10-5/2 * *", "the day-of-month field '20,10-5/2' has a reversed range '10-5/2'"),
    (
        "0 0 * * SUN-SUN",
        "the day-of-week field 'sun-sun' has a range 'sun-sun' of one value; write 'sun', or '*' for all",
    ),
    ("0 0 * * 7-7", "has a range '7-7' of one value; write '7'"),
    ("0 0 * * 7-sun", "has a range '7-sun' of one value"),
    ("5-5 * * * *", "the minute field '5-5' has a range '5-5' of one value; write '5'"),
    ("0 0 1 jan-jan *", "the month field 'jan-jan' has a range 'jan-jan' of one value"),
    ("0 0 * * fri-fri#1", "has a range 'fri-fri#1' of one value; write 'fri'"),
    (
        "0 0 * * *,sat#3",
        "the day-of-week field '*,sat#3' mixes weekdays with '#' or 'L' and weekdays without; use two jobs",
    ),
    ("0 0 * * mon,L5", "mixes weekdays with '#' or 'L'"),
    ("0 0 5,* * mon", "the day-of-month field '5,*' lists '*' among others; write '*' alone or leave it out"),
    ("0 0 * * Thu-Tue/2", "the day-of-week field 'thu-tue/2' loses its step where it wraps around; write '1,4,6'"),
    ("0 22-3/4 * * *", "the hour field '22-3/4' loses its step where it wraps around; write '2,22'"),
    ("61 * * * *", "the minute field '61' cannot be read; use 0-59"),
    ("0 24 * * *", "the hour field '24' cannot be read; use 0-23"),
    ("0 0 32 * *", "the day-of-month field '32' cannot be read; use 1-31"),
    ("0 0 * 13 *", "the month field '13' cannot be read; use 1-12"),
    ("0 0 * * 5L", "the day-of-week field '5l' cannot be read; use 0-7"),
    ("* * * * * 60", "the second field '60' cannot be read; use 0-59"),
    ("*/90 * * * *", "the minute field '*/90' steps past its end, so it means 0 alone; write 0 if that is meant"),
    ("0 */25 * * *", "the hour field '*/25' steps past its end, so it means 0 alone"),
    ("0 0 */32 * *", "the day-of-month field '*/32' steps past its end, so it means 1 alone"),
    ("0 9-17/10 * * *", "the hour field '9-17/10' steps past its end, so it means 9 alone"),
    ("@every 5m", "@every is an interval; use every('5m')"),
    ("CRON_TZ=Asia/Tokyo 0 9 * * *", "it names its time zone itself; leave that out, and say timezone='Asia/Tokyo'"),
    ("TZ=Asia/Tokyo 0 9 * * *", "it names its time zone itself; leave that out, and say timezone='Asia/Tokyo'"),
    ("0 9 * * * # daily", "it has a comment; leave out what stands from the # on"),
    ("0 9 * * MONDAY", "the day-of-week field 'monday' has a name in full; write 'mon' for 'monday'"),
    ("0 9 * * mon-Thurs", "has a name in full; write 'thu' for 'thurs'"),
    ("0 9 1 January *", "the month field 'january' has a name in full; write 'jan' for 'january'"),
    ("*/0 * * * *", "the minute field '*/0' cannot be read"),
    ("R * * * *", "the minute field 'r' is random or hashed; write the value itself"),
    ("0 H(0-5) * * *", "the hour field 'h(0-5)' is random or hashed"),
    ("0 0 * * mon", "it holds characters that are not ASCII"),
    (",".join(["1"] * 129) + " * * * *", "265 characters are too many; use at most 256"),
]


@pytest.mark.parametrize(("expression", "message"), REFUSALS)
def test_a_wrong_expression_is_refused_with_its_fault(expression: str, message: str) -> None:
    expression = "0\N{NO-BREAK SPACE}0 * * mon" if "ASCII" in message else expression
    with pytest.raises(CronError) as refused:
        Cron(expression)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 350


def test_a_long_expression_is_shortened_in_its_own_refusal() -> None:
    with pytest.raises(CronError) as refused:
        Cron("*" * 5000)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "expression",
    [
        "0 0 * * 0-7",
        "0 0 * * sun-7/2",
        "0 0 * * fri-mon",
        "0 22-2 * * *",
        "0 0 1 nov-mar *",
        "0 0 1 Apr-Mar/3 *",
        "0 0 29-L * *",
        "59/15 * * * *",
        "0 0 ? * mon",
        "0 0 1-7 * mon#1",
        "0 0 22-31 * L5",
        "@Daily",
        "  */5   *  * *\t* ",
        ",".join(["1"] * 120) + " * * * *",
    ],
)
def test_a_right_expression_is_accepted(expression: str) -> None:
    assert Cron(expression).next_after(datetime(2026, 1, 1, tzinfo=UTC)) is not None


def test_days_of_month_and_nth_weekdays_may_both_be_demanded() -> None:
    cron = Cron("0 0 13 * fri#2", days="and")
    assert cron.next_after(datetime(2026, 1, 1, tzinfo=UTC)) == datetime(2026, 2, 13, tzinfo=UTC)
    with pytest.raises(CronError, match="no date matches"):
        Cron("0 0 15 * fri#2", days="and")


def test_a_seven_field_range_to_sunday_holds_sunday() -> None:
    fire = Cron("0 0 * * 0-7").next_after(datetime(2026, 8, 1, tzinfo=UTC))
    assert fire == datetime(2026, 8, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "message"),
    [
        ("Europe/Berln", "time zone 'Europe/Berln' is unknown (did you mean 'Europe/Berlin'?); use an IANA name"),
        ("europe/berlin", "(did you mean 'Europe/Berlin'?)"),
        ("", "time zone '' is unknown; use an IANA name"),
        ("Europe", "time zone 'Europe' is unknown"),
        ("../../etc/passwd", "is unknown"),
        ("Mars/Olympus Mons", "is unknown"),
    ],
)
def test_an_unknown_zone_is_refused_with_the_closest_name(zone: str, message: str) -> None:
    with pytest.raises(UnknownZoneError) as refused:
        Cron("0 0 * * *", zone)
    assert message in str(refused.value)


@pytest.mark.parametrize("option", ["seconds", "days", "dst"])
def test_an_unknown_option_is_refused_with_the_known_ones(option: str) -> None:
    with pytest.raises(TriggerError, match=f"{option}='never' is unknown to cron; use one of "):
        Cron("0 0 * * *", **{option: "never"})


def test_a_naive_moment_is_refused() -> None:
    with pytest.raises(TriggerError, match="moment 2026-01-01T00:00:00 has no time zone; pass an aware datetime"):
        Cron("0 0 * * *").next_after(datetime(2026, 1, 1))


def test_refusals_are_value_errors_of_this_package_and_survive_pickling() -> None:
    for error in (CronError("x", "f", "a"), UnknownZoneError("x", "y"), TriggerError("s", "f", "a")):
        assert isinstance(error, ValueError) and isinstance(error, LegionError)
        copied = pickle.loads(pickle.dumps(error))
        assert str(copied) == str(error) and type(copied) is type(error)
