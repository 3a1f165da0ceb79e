"""Ports of loopback that are given to a server by number, before it listens."""

import contextlib
import socket
from collections.abc import Iterator


def reserve() -> socket.socket:
    """A socket at a free port, which the system gives to no other process while the socket is open.

    A server that sets SO_REUSEADDR, as torch's store does, can still listen there.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


@contextlib.contextmanager
def reserved() -> Iterator[int]:
    """The number of a port that stays free for one server inside the block."""
    with reserve() as held:
        yield held.getsockname()[1]
