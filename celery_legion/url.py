"""URLs as people may see them: without their passwords."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit, urlunsplit

MASK = "***"

SCHEME = re.compile(r"[A-Za-z][\w+.-]*(?=:)", re.ASCII)

SECRET = re.compile(r"pass|pwd|secret|token|credential|auth|api_?key|kwargs", re.IGNORECASE)
"""Parameters of a query whose values are not shown, by their names."""


def safe_url(url: str) -> str:
    """Return *url* with ``***`` for its passwords; one that cannot be read is shown by its scheme only.

    A name without a password is masked, too: it is a password that lacks its colon, or a token. A URL that has nothing
    to hide is returned as it is.
    """
    scheme = SCHEME.match(url)
    unread = f"{scheme[0]}://{MASK}" if scheme else MASK
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return unread
    query = "&".join(map(_safe_parameter, re.split("[&;]", parts.query)))
    if "@" in f"{parts.path}{query}{parts.fragment}":
        # The password holds a slash, a question mark or a hash, which should be written in percents.
        return unread
    login, at, host = parts.netloc.rpartition("@")
    name, _, password = login.partition(":")
    shown = f"{name}:{MASK}" if password else MASK if name else login
    # What follows a hash belongs to no server; it may be the rest of a password in the query.
    fragment = MASK if parts.fragment else ""
    if (shown, query, fragment) == (login, "&".join(re.split("[&;]", parts.query)), parts.fragment):
        return url
    return urlunsplit(parts._replace(netloc=f"{shown}{at}{host}", query=query, fragment=fragment))


def _safe_parameter(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    return f"{name}={MASK}" if equals and SECRET.search(unquote(name)) else parameter
