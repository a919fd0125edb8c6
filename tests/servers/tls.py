"""A door with TLS before a server that has none, and the certificates for it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Self


class Certificate:
    """A certificate for 127.0.0.1 that vouches for itself, made by openssl."""

    def __init__(self, folder: Path, name: str = "server") -> None:
        self.file, self.key = folder / f"{name}.pem", folder / f"{name}.key"
        openssl = shutil.which("openssl")
        assert openssl is not None, "openssl is needed to make a certificate"
        made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
        files = ["-keyout", str(self.key), "-out", str(self.file)]
        subprocess.run([openssl, *made, *names, *files], check=True, capture_output=True)


class TlsDoor:
    """Listens on a free loopback port, speaks TLS there, and forwards to *target*."""

    def __init__(self, target: tuple[str, int], certificate: Certificate) -> None:
        self.target = target
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate.file, certificate.key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A thread that waits in accept() keeps the port open until it is woken.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            self._context.wrap_socket(line, server_side=True) as front,
            socket.create_connection(self.target) as back,
        ):
            threading.Thread(target=_pump, args=(back, front), daemon=True).start()
            _pump(front, back)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
