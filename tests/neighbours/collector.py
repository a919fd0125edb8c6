"""An HTTP endpoint that keeps whatever is sent to it: where Sentry's envelopes and ddtrace's spans end up."""

from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
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
        """Return the items of one kind out of Sentry's envelopes: a header line and a payload line for each."""
        found = []
        for path, body in list(self.received):
            if not path.endswith("/envelope/"):
                continue
            lines = body.split(b"\n")[1:]
            for head, payload in pairwise(lines):
                if head.startswith(b'{"type"') and json.loads(head).get("type") == kind:
                    found.append(json.loads(payload))
        return found
