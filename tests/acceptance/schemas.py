"""What the command line's JSON must look like, as JSON Schema."""

from __future__ import annotations

from typing import Any

TEXT, MAYBE_TEXT, MAYBE_INTEGER = {"type": "string"}, {"type": ["string", "null"]}, {"type": ["integer", "null"]}
MOMENT = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}
INSTANT = {"anyOf": [MOMENT, {"type": "null"}]}

JOB_PROPERTIES: dict[str, Any] = {
    "name": TEXT,
    "action": TEXT,
    "schedule": TEXT,
    "expression": MAYBE_TEXT,
    "timezone": TEXT,
    "next_run": INSTANT,
    "last_run": INSTANT,
    "last_state": MAYBE_TEXT,
    "last_duration": {"type": ["number", "null"], "minimum": 0},
    "lock": {"type": ["object", "null"]},
    "paused": {"type": "boolean"},
    "tags": {"type": "array", "items": TEXT},
    "queue": MAYBE_TEXT,
    "source": {"enum": ["code", "dynamic", "beat"]},
}
JOB = {
    "type": "object",
    "properties": JOB_PROPERTIES,
    "required": list(JOB_PROPERTIES),
    "additionalProperties": False,
}
JOBS = {"type": "array", "items": JOB}

RECORD_PROPERTIES: dict[str, Any] = {
    "id": MAYBE_TEXT,
    "job": TEXT,
    "kind": {"enum": ["scheduled", "pushed", "manual", "backfill"]},
    "fire_time": MOMENT,
    "state": {
        "enum": [
            *("claimed", "sent", "running", "retrying", "succeeded", "failed"),
            *("interrupted", "lost", "expired", "skipped", "missed"),
        ]
    },
    "reason": MAYBE_TEXT,
    "count": {"type": "integer", "minimum": 1},
    "started_at": INSTANT,
    "ended_at": INSTANT,
    "exit_code": MAYBE_INTEGER,
    "worker": MAYBE_TEXT,
    "pid": MAYBE_INTEGER,
    "attempt": {"type": "integer", "minimum": 0},
    "token": {"type": "integer", "minimum": 0},
    "error": MAYBE_TEXT,
    "hook_error": MAYBE_TEXT,
    "output": MAYBE_TEXT,
}
RECORDS = {
    "type": "array",
    "items": {"type": "object", "properties": RECORD_PROPERTIES, "required": list(RECORD_PROPERTIES)},
}
