"""The errors of triggers: each names the faulty part and what to write instead."""

from __future__ import annotations

from celery_legion.errors import LegionError


class TriggerError(LegionError, ValueError):
    """A trigger cannot be built as it was written, or was asked with a naive moment."""

    def __init__(self, subject: str, fault: str, advice: str) -> None:
        super().__init__(subject, fault, advice)
        self.subject, self.fault, self.advice = subject, fault, advice

    def __str__(self) -> str:
        return f"{self.subject} {self.fault}; {self.advice}"


class CronError(TriggerError):
    """A cron expression is wrong, never fires, or would fire on other days than it says."""

    def __init__(self, expression: str, fault: str, advice: str) -> None:
        shown = expression if len(expression) <= 80 else f"{expression[:77]}..."
        super().__init__(f"cron expression {shown!r}:", fault, advice)
        self.args = (expression, fault, advice)
        self.expression = expression


class UnknownZoneError(TriggerError):
    """No time zone has this name. ``closest`` is the most similar name, or None."""

    def __init__(self, name: str, closest: str | None = None) -> None:
        hint = f" (did you mean {closest!r}?)" if closest else ""
        super().__init__(
            f"time zone {name!r}", f"is unknown{hint}", "use an IANA name such as 'Europe/Berlin' or 'UTC'"
        )
        self.args = (name, closest)
        self.name, self.closest = name, closest
