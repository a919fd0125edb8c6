"""Pings: what is requested, what is an error, and how long one may take."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from celery_legion import ping as module
from celery_legion.hook import hook_name
from celery_legion.ping import Ping, PingError, healthchecks, is_url
from celery_legion.run import Kind, State
from celery_legion.worker.current import CurrentRun

RUN_ID = "5d2f1c30-0000-4000-8000-000000000001"
SECRET = "s3cret-path"


@dataclass
class Site:
    """A server of this test's own: what it was asked, and what it answers for each path (200 else)."""

    port: int = 0
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)
    agents: list[str | None] = field(default_factory=list)
    answers: dict[str, tuple[int, str | None]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{SECRET}"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            made.asked.append((self.command, self.path, body))
            made.agents.append(self.headers.get("User-Agent"))
            code, location = made.answers.get(urlsplit(self.path).path, (200, None))
            self.send_response(code)
            if location is not None:
                self.send_header("Location", location)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def mute() -> Iterator[str]:
    """The URL of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/{SECRET}"


def a_run(**fields: Any) -> CurrentRun:
    given: dict[str, Any] = {"id": RUN_ID, "job": "j", "fire_time": datetime(2026, 3, 1, tzinfo=UTC), "attempt": 1}
    given.update(kind=Kind.SCHEDULED, token=1, previous_success=None)
    return CurrentRun(**{**given, **fields})


def failure(ping: Ping, run: object = None) -> PingError:
    with pytest.raises(PingError) as caught:
        ping(run)
    text = str(caught.value)
    assert SECRET not in text
    assert "\n" not in text
    assert "127.0.0.1" in text
    return caught.value


def test_a_ping_is_a_get_of_its_url(site: Site) -> None:
    Ping(f"{site.url}?a=1")(a_run(output="the tail"))

    assert site.asked == [("GET", f"/{SECRET}?a=1", b"")]
    assert site.agents == ["celery-legion"]


@pytest.mark.parametrize("if_", [False, lambda: False, lambda: 0])
def test_a_ping_whose_condition_does_not_hold_requests_nothing(site: Site, if_: Any) -> None:
    Ping(site.url, if_)(a_run())

    assert site.asked == []


def test_a_condition_that_fails_is_the_hook_s_failure(site: Site) -> None:
    with pytest.raises(ZeroDivisionError):
        Ping(site.url, lambda: 1 / 0)(a_run())

    assert site.asked == []


def test_a_report_is_a_post_of_the_output_with_the_run_s_id(site: Site) -> None:
    Ping(site.url, report=True)(a_run(output="the tail ß\udcff"))

    [(method, path, body)] = site.asked
    assert (method, path) == ("POST", f"/{SECRET}?rid={RUN_ID}")
    assert body == "the tail ß?".encode()


def test_a_report_keeps_the_query_of_its_url(site: Site) -> None:
    Ping(f"{site.url}?create=1", report=True)(a_run())

    [(_, path, _)] = site.asked
    assert parse_qs(urlsplit(path).query) == {"create": ["1"], "rid": [RUN_ID]}
    assert urlsplit(path).path == f"/{SECRET}"


@pytest.mark.parametrize("run_id", ["skip:1", "mine", ""])
def test_a_report_leaves_an_id_out_that_is_no_uuid(site: Site, run_id: str) -> None:
    Ping(site.url, report=True)(a_run(id=run_id))

    assert site.asked == [("GET", f"/{SECRET}", b"")]


def test_a_report_without_an_output_sends_the_error(site: Site) -> None:
    Ping(site.url, report=True)(a_run(state=State.FAILED, error="ValueError: no"))

    assert site.asked[0][2] == b"ValueError: no"


def test_a_report_with_neither_is_a_get(site: Site) -> None:
    Ping(site.url, report=True)(a_run())

    assert site.asked == [("GET", f"/{SECRET}?rid={RUN_ID}", b"")]


def test_a_check_is_told_of_start_success_and_failure(site: Site) -> None:
    pings = healthchecks(f"{site.url}/?create=1")
    for name in ("before", "on_success", "on_failure"):
        pings[name](a_run())

    paths = [urlsplit(path).path for _, path, _ in site.asked]
    assert paths == [f"/{SECRET}/start", f"/{SECRET}", f"/{SECRET}/fail"]
    assert all("create=1" in path and f"rid={RUN_ID}" in path for _, path, _ in site.asked)


@pytest.mark.parametrize("code", [400, 404, 429, 500, 503])
@pytest.mark.parametrize("report", [True, False])
def test_an_answer_that_says_no_is_an_error_that_does_not_show_the_path(site: Site, code: int, report: bool) -> None:
    site.answers[f"/{SECRET}"] = (code, None)

    error = failure(Ping(site.url, report=report), a_run(output="tail"))
    assert error.host == "127.0.0.1"
    assert len(site.asked) == 1


@pytest.mark.parametrize("code", [200, 201, 204])
def test_an_answer_that_says_yes_is_none(site: Site, code: int) -> None:
    site.answers[f"/{SECRET}"] = (code, None)
    Ping(site.url)(a_run())

    assert len(site.asked) == 1


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("report", [True, False], ids=["report", "plain"])
def test_redirects_are_followed(site: Site, code: int, report: bool) -> None:
    site.answers[f"/{SECRET}"] = (code, "/moved")
    Ping(site.url, report=report)(a_run(output="tail"))

    assert [urlsplit(path).path for _, path, _ in site.asked] == [f"/{SECRET}", "/moved"]


def test_a_redirect_to_what_says_no_is_an_error(site: Site) -> None:
    site.answers.update({f"/{SECRET}": (302, "/moved"), "/moved": (404, None)})

    failure(Ping(site.url))


def test_redirects_without_an_end_are_an_error_in_one_line(site: Site) -> None:
    site.answers[f"/{SECRET}"] = (302, f"/{SECRET}")

    failure(Ping(site.url))


def test_a_redirect_to_another_kind_of_url_does_not_show_the_path(site: Site) -> None:
    site.answers[f"/{SECRET}"] = (302, f"file:///{SECRET}")

    failure(Ping(site.url))


def test_a_server_that_takes_no_connection_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

    failure(Ping(f"http://127.0.0.1:{port}/{SECRET}"))


@pytest.mark.parametrize("path", [f"{SECRET}/ü", f"{SECRET} x"])
def test_a_path_that_cannot_be_sent_is_an_error_that_does_not_show_it(site: Site, path: str) -> None:
    failure(Ping(f"http://127.0.0.1:{site.port}/{path}"))


def test_a_server_that_never_answers_is_given_up(mute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BOUND", 0.3)
    begun = time.monotonic()
    failure(Ping(mute))

    assert time.monotonic() - begun < 3


def test_a_server_that_answers_byte_by_byte_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BOUND", 0.3)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_drip, args=(listening, over), daemon=True)
        thread.start()
        begun = time.monotonic()
        try:
            error = failure(Ping(f"http://127.0.0.1:{listening.getsockname()[1]}/{SECRET}"))
            assert time.monotonic() - begun < 3
        finally:
            over.set()
            thread.join(5)

    assert "no answer within 0.3 s" in str(error)


def _drip(listening: socket.socket, over: threading.Event) -> None:
    connection, _ = listening.accept()
    with connection, suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while not over.wait(0.05):
            connection.sendall(b"x")


def test_a_name_whose_look_up_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BOUND", 0.3)
    over = threading.Event()

    def look_up(*args: Any, **kwargs: Any) -> Any:
        over.wait(10)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    begun = time.monotonic()
    with pytest.raises(PingError):
        Ping(f"http://hc.invalid/{SECRET}")(None)
    over.set()

    assert time.monotonic() - begun < 3


@pytest.mark.parametrize("show", [str, repr, hook_name])
def test_a_ping_shows_its_host_alone(show: Callable[[object], str]) -> None:
    shown = show(Ping(f"https://user:hunter2@hc.example:8000/{SECRET}?key={SECRET}"))

    assert "hc.example" in shown
    assert SECRET not in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("http://host", True),
        ("https://host:8000/path?query", True),
        ("https://[::1]/path", True),
        ("", False),
        ("host/path", False),
        ("ftp://host", False),
        ("http://", False),
        ("http://:80/", False),
        ("http://host:0/", False),
        ("http://host:port/", False),
        ("http://host:99999/", False),
        ("http://[::1/", False),
        (b"http://host", False),
        (None, False),
    ],
)
def test_what_can_be_pinged_is_told(value: object, expected: bool) -> None:
    assert is_url(value) is expected
