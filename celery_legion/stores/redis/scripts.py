"""The Lua scripts, one a verb, each with the shared prelude in front."""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from importlib.resources import files


@cache
def source(verb: str) -> str:
    """Return the whole script of *verb*."""
    folder = files("celery_legion.stores.redis") / "lua"
    return "".join((folder / f"{part}.lua").read_text("utf-8") for part in ("prelude", "prelude_inbox", verb))


@cache
def digest(verb: str) -> str:
    """Return the SHA-1 under which a server keeps the script of *verb*."""
    return sha1(source(verb).encode(), usedforsecurity=False).hexdigest()
