"""A TLS server that shakes hands with a certificate of the test's choice, which can be exchanged while it serves."""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
import threading
from pathlib import Path
from typing import Self


class TlsServer:
    """Listens on loopback. `serve` changes the certificate for the next handshake; `silent` never answers."""

    def __init__(self, pem: str) -> None:
        self.silent = False
        self.serve(pem)
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="tls-server", daemon=True)
        self._thread.start()

    def serve(self, pem: str) -> None:
        """Show this certificate from now on; the text holds its key too."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "pair.pem"
            file.write_text(pem)
            context.load_cert_chain(file)
        self._context = context

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):  # wakes the thread that waits for the next
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            plain, _ = self._listener.accept()
            threading.Thread(target=self._shake, args=(plain,), daemon=True).start()

    def _shake(self, plain: socket.socket) -> None:
        with plain, contextlib.suppress(OSError):
            plain.settimeout(5)
            if self.silent:
                self._closing.wait(5)
                return
            with self._context.wrap_socket(plain, server_side=True) as secured:
                secured.recv(1)
