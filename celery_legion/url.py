"""URLs as people may see them: without their passwords."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit


def safe_url(url: str) -> str:
    """Return *url* with ``***`` for its password; one that cannot be read is shown by its scheme only."""
    try:
        parts = urlsplit(url)
        query = re.sub(r"(?i)(\b\w*password=)[^&]*", r"\1***", parts.query)
        if parts.password is None and "@" in parts.path:
            # A password with a slash in it, which should be written %2F.
            return f"{parts.scheme}://***"
        if parts.password is None:
            return url if query == parts.query else urlunsplit(parts._replace(query=query))
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return url.partition("://")[0] + "://***"
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}{port}", query=query))
