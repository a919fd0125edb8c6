"""Pings: hooks that request a URL, as dead man's switches such as healthchecks.io want it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from celery_legion.errors import LegionError
from celery_legion.hook import call_hook

BOUND = 10.0
"""Seconds that one ping may take in all."""


class PingError(LegionError, RuntimeError):
    """A URL was not pinged. The path is not shown: it is the secret of such URLs."""

    exit_code = 1

    def __init__(self, host: str, cause: str) -> None:
        super().__init__(host, cause)
        self.host, self.cause = host, cause

    def __str__(self) -> str:
        return f"the ping to {self.host} failed: {self.cause}; check the URL and that this worker may reach it"


@dataclass(frozen=True, slots=True)
class Ping:
    """Requests *url* with GET, or, when ``report`` says so, with POST and the run's output.

    ``if_`` is asked each time if it can be called, with the run if it takes it.
    Redirects are followed; an answer of 400 or above is an error.
    """

    url: str
    if_: Callable[..., object] | bool = True
    report: bool = False

    def __call__(self, run: Any) -> None:
        """Ping for *run*, within 10 s in all.

        Raises:
            PingError: No answer in time, or an answer that says no.
        """
        if not (call_hook(self.if_, run) if callable(self.if_) else self.if_):
            return
        outcome: list[str | None] = []
        # A socket's timeout bounds each step, and a name's look-up not at all.
        thread = threading.Thread(target=lambda: outcome.append(self._request(run)), name="legion-ping", daemon=True)
        thread.start()
        thread.join(BOUND)
        cause = outcome[0] if outcome else f"no answer within {BOUND:g} s"
        if cause is not None:
            raise PingError(self.host, cause)

    @property
    def host(self) -> str:
        """The URL's part that may be shown."""
        return urlsplit(self.url).hostname or "?"

    def _request(self, run: Any) -> str | None:
        # Loaded where it is used: a web process that only registers jobs pings nothing.
        from urllib.error import HTTPError
        from urllib.request import Request, build_opener

        url, body = self.url, None
        if self.report:
            url += ("&" if "?" in url else "?") + urlencode({"rid": run.id}) if _is_uuid(run.id) else ""
            body = (getattr(run, "output", None) or getattr(run, "error", None) or "").encode("utf-8", "replace")
        request = Request(url, data=body or None, headers={"User-Agent": "celery-legion"})
        try:
            with build_opener(_redirects()).open(request, timeout=BOUND) as answer:
                answer.read(1024)
        except HTTPError as exc:
            # Its text may tell URLs.
            return f"the answer was {exc.code}"
        except OSError as exc:
            return str(getattr(exc, "reason", None) or exc or type(exc).__name__).partition("\n")[0]
        except Exception as exc:
            return type(exc).__name__
        return None

    def __str__(self) -> str:
        return f"ping to {self.host}"

    def __repr__(self) -> str:
        return f"<Ping {self.host}>"


def _redirects() -> Any:
    """Return what follows redirects, those that keep a POST's method too."""
    from urllib.request import HTTPRedirectHandler, Request

    class Redirects(HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
            if code in (307, 308) and req.data is not None:
                return Request(newurl, data=req.data, headers=dict(req.headers), unverifiable=True)
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    return Redirects()


def _is_uuid(text: str | None) -> bool:
    try:
        UUID(text or "")
    except ValueError:
        return False
    return True


def healthchecks(url: str) -> dict[str, Ping]:
    """Return the three pings of a healthchecks.io check by the hook they belong to: start, success and fail.

    They carry the run's id, so that the check measures how long each run took, and the output's tail.
    """
    head, mark, query = url.partition("?")
    head, query = head.rstrip("/"), mark + query
    return {
        "before": Ping(f"{head}/start{query}", report=True),
        "on_success": Ping(head + query, report=True),
        "on_failure": Ping(f"{head}/fail{query}", report=True),
    }


def is_url(value: object) -> bool:
    """Return whether *value* is a URL that can be pinged."""
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
