"""An HTTP endpoint that keeps whatever is sent to it: where Sentry's envelopes and ddtrace's spans end up."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class Collector:
    """Listens on a free loopback port at ``with``."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            """Takes everything and says that it is well."""

            def _take(self) -> None:
                body = self._body()
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                received.append((self.path, body))
                self._answer()

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                chunks = []
                while size := int(self.rfile.readline().strip() or b"0", 16):
                    chunks.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(chunks)

            def _answer(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        # The base class wants these names.
        for method, answer in (("POST", Handler._take), ("PUT", Handler._take), ("GET", Handler._answer)):
            setattr(Handler, f"do_{method}", answer)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def items(self, kind: str) -> list[dict[str, Any]]:
        """Return the items of one kind out of Sentry's envelopes."""
        bodies = [body for path, body in list(self.received) if path.endswith("/envelope/")]
        return [json.loads(payload) for body in bodies for head, payload in _items(body) if head.get("type") == kind]


def _items(envelope: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Take an envelope apart: a line, then for each item a line that says its length, and the item."""
    _, _, rest = envelope.partition(b"\n")
    while rest.strip():
        line, _, rest = rest.lstrip(b"\n").partition(b"\n")
        head = json.loads(line)
        length = head.get("length", rest.find(b"\n") if b"\n" in rest else len(rest))
        yield head, rest[:length]
        rest = rest[length:]
