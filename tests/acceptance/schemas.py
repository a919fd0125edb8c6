"""What the command line's JSON must look like, as JSON Schema."""

from __future__ import annotations

from typing import Any

TEXT, MAYBE_TEXT, MAYBE_INTEGER = {"type": "string"}, {"type": ["string", "null"]}, {"type": ["integer", "null"]}
MOMENT = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}
INSTANT = {"anyOf": [MOMENT, {"type": "null"}]}

STATES = [
    *("claimed", "sent", "running", "retrying", "succeeded", "failed"),
    *("interrupted", "lost", "expired", "skipped", "missed"),
]
NUMBER = {"type": ["number", "null"], "minimum": 0}
TEXTS = {"type": "array", "items": TEXT}


def exact(properties: dict[str, Any], nullable: bool = False) -> dict[str, Any]:
    """Return the schema of an object that has just these properties, all of them."""
    return {
        "type": ["object", "null"] if nullable else "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


HOLDER = exact(
    {
        "run": TEXT,
        "job": TEXT,
        "state": {"enum": STATES},
        "expires_in": {"type": "number"},
        "worker": MAYBE_TEXT,
    }
)
LOCK = exact({"name": TEXT, "holders": {"type": "array", "items": HOLDER, "minItems": 1}}, nullable=True)
LAPSE = exact(
    {
        "state": {"enum": ["skipped", "missed"]},
        "reason": TEXT,
        "count": {"type": "integer", "minimum": 1},
        "first": MOMENT,
        "last": MOMENT,
    },
    nullable=True,
)
PAUSE = exact({"all": {"type": "boolean"}, "since": MOMENT, "until": INSTANT, "note": TEXT}, nullable=True)

JOB_PROPERTIES: dict[str, Any] = {
    "name": TEXT,
    "action": TEXT,
    "schedule": TEXT,
    "expression": MAYBE_TEXT,
    "timezone": TEXT,
    "next_run": INSTANT,
    "due": INSTANT,
    "problem": MAYBE_TEXT,
    "last_run": INSTANT,
    "last_id": MAYBE_TEXT,
    "last_state": {"enum": [*STATES, None]},
    "last_reason": MAYBE_TEXT,
    "last_duration": NUMBER,
    "last_error": MAYBE_TEXT,
    "skipped": LAPSE,
    "running": TEXTS,
    "lock": LOCK,
    "enabled": {"type": "boolean"},
    "paused": {"type": "boolean"},
    "pause": PAUSE,
    "state": {
        "enum": [
            *("idle", "sent", "unsent", "queued", "running", "retrying"),
            *("paused", "disabled", "broken", "late", "unseen", "no scheduler"),
        ]
    },
    "detail": TEXT,
    "description": TEXT,
    "tags": TEXTS,
    "queue": MAYBE_TEXT,
    "overlap": {"enum": ["skip", "allow"]},
    "source": {"enum": ["code", "dynamic", "beat"]},
    "place": TEXT,
}
JOB = exact(JOB_PROPERTIES)
JOBS = {"type": "array", "items": JOB}

RECORD_PROPERTIES: dict[str, Any] = {
    "id": MAYBE_TEXT,
    "job": TEXT,
    "kind": {"enum": ["scheduled", "pushed", "manual", "backfill"]},
    "fire_time": MOMENT,
    "last_fire_time": MOMENT,
    "state": {"enum": STATES},
    "reason": MAYBE_TEXT,
    "count": {"type": "integer", "minimum": 1},
    "claimed_at": INSTANT,
    "sent_at": INSTANT,
    "started_at": INSTANT,
    "ended_at": INSTANT,
    "exit_code": MAYBE_INTEGER,
    "worker": MAYBE_TEXT,
    "pid": MAYBE_INTEGER,
    "scheduler": MAYBE_TEXT,
    "attempt": {"type": "integer", "minimum": 0},
    "retry_at": INSTANT,
    "token": {"type": "integer", "minimum": 0},
    "error": MAYBE_TEXT,
    "hook_error": MAYBE_TEXT,
    "output": MAYBE_TEXT,
}
RECORD = exact(RECORD_PROPERTIES)
RECORDS = {"type": "array", "items": RECORD}

SHOWN = exact(
    {
        **JOB_PROPERTIES,
        "kind": {"enum": ["task", "callable", "command"]},
        "args": TEXTS,
        "kwargs": {"type": "object", "additionalProperties": TEXT},
        "explanation": TEXTS,
        "next_fires": {"type": "array", "items": MOMENT, "maxItems": 5},
        "rules": TEXTS,
        "hooks": {"type": "object", "additionalProperties": TEXTS},
        "records": RECORDS,
    }
)

LOCKS = {
    "type": "array",
    "items": exact(
        {
            "lock": TEXT,
            "run": TEXT,
            "job": TEXT,
            "state": {"enum": STATES},
            "worker": MAYBE_TEXT,
            "since": INSTANT,
            "expires_in": {"type": "number"},
        }
    ),
}

INBOX = exact(
    {
        "waiting": {"type": "array", "items": exact({"id": TEXT, "body": TEXT})},
        "put_aside": {"type": "array", "items": exact({"id": TEXT, "body": TEXT, "why": TEXT, "at": MOMENT})},
    }
)
PUSHED = exact({"id": TEXT, "put_aside": MAYBE_TEXT, "record": {"anyOf": [RECORD, {"type": "null"}]}})
