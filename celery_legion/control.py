"""Control characters: what could steer a terminal or forge a line of a log, and how it is shown instead."""

from __future__ import annotations

import re

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""All but tabs and ends of line; the escapes of a program's own colours are among them."""


def visible(text: str) -> str:
    """Return *text* with control characters escaped, tabs and ends of line as they are."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible_json(text: str) -> str:
    """Return JSON with the control characters escaped that JSON allows in its strings; it says the same."""
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


LONGEST_ERROR = 2000
"""Characters of an error's text that are kept."""


def error_in_line(error: BaseException) -> str:
    """Return an error's type and text as a part of one line that every log and store can hold, whatever its class."""
    try:
        text = str(error)
    except Exception:
        text = "it cannot say what is wrong"
    text = text.encode("utf-8", "replace").decode()
    shown = in_line(text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]}...")
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__


def in_line(text: object) -> str:
    """Return *text* as a part of one line: with ends of line and tabs escaped, too."""
    return visible(str(text)).replace("\n", "\\n").replace("\t", "\\t")
