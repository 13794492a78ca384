"""The server's open TCP connections by the client's address, so that a fault can cut one without a goodbye."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

Peer = tuple[str, int]


class Transports:
    """Open connections. All calls on the server's loop."""

    def __init__(self) -> None:
        self._open: dict[Peer, asyncio.Transport] = {}

    def add(self, transport: asyncio.Transport) -> None:
        """Remember a connection."""
        peer = transport.get_extra_info("peername")
        if peer:
            self._open[(peer[0], peer[1])] = transport

    def _take(self, peer: Peer) -> asyncio.Transport | None:
        return self._open.pop(peer, None)

    def abort(self, peer: Peer) -> None:
        """Cut a connection at once; what was not sent yet is lost."""
        if transport := self._take(peer):
            transport.abort()

    def finish(self, peer: Peer) -> None:
        """Cut a connection after what was written to it, hearing nothing more from it."""
        if transport := self._open.get(peer):
            transport.pause_reading()
            transport.close()

    def freeze(self, peer: Peer) -> None:
        """Stop reading from a connection."""
        if transport := self._open.get(peer):
            transport.pause_reading()


def recording(transports: Transports) -> type[H11Protocol]:
    """Uvicorn's HTTP protocol, which also remembers its connections."""

    class Recording(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
            transports.add(transport)
            super().connection_made(transport)

    return Recording
