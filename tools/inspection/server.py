"""Serves the page on this machine, to a few browsers: what no browser does costs neither files, nor time, nor lines."""

import asyncio
import contextlib
import logging
import socket
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 100  # a browser has six; a process may have 1024 open files, often only 256
SECONDS = 60  # in which a request must have arrived, after which its connection is closed


def serve(app: Starlette, listener: socket.socket) -> None:
    """Answer requests to this socket until Ctrl-C."""
    settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, http=FewConnections, ws="none")
    logging.getLogger("uvicorn.error").addFilter(is_failure)
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(settings).run(sockets=[listener])


def is_failure(line: logging.LogRecord) -> bool:
    """Whether a line of the server's log is more than that Ctrl-C has ended requests under way."""
    error = line.exc_info[1] if line.exc_info else None
    return not isinstance(error, asyncio.CancelledError) and "graceful shutdown" not in line.getMessage()


class FewConnections(H11Protocol):
    """HTTP, of which no more connections are open than MOST_CONNECTIONS, and none that waits for its request."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.late = self.loop.call_later(SECONDS, self._close_if_late)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.late.cancel()
        super().connection_lost(exc)

    def _close_if_late(self) -> None:
        """Close the connection if its first request has not arrived; later ones have uvicorn's own limit."""
        if self.cycle is None or self.cycle.more_body:
            self.transport.abort()
