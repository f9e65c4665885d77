"""
Connections that are closed before all was written: no socket is left to the garbage collector.

The loop and the transport are the client library's own, the other side is a plain socket.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest
from kafka.net.selector import NetworkSelector
from kafka.net.transport import KafkaTCPTransport

from tests.support.waiting import until
from worker.edges import kafka_sockets

MORE_THAN_FITS = b"x" * 20_000_000
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: on, zero seconds."""


class Connection:
    """Our transport, the loop that drives it, and the peer, which reads nothing."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.sock = socket.create_connection(server.getsockname())
            self.peer, _ = server.accept()
        self.sock.setblocking(False)
        self.net = NetworkSelector()
        self.net.start()
        self.transport = KafkaTCPTransport(self.net, self.sock)

    def closed(self) -> bool:
        return self.sock.fileno() == -1

    def close_at_once_after(self, data: bytes) -> None:
        def write_and_close() -> None:
            self.transport.write(data)
            self.transport.close()

        self.net.run(write_and_close)


@pytest.fixture
def connection() -> Iterator[Connection]:
    kafka_sockets.install()
    made = Connection()
    yield made
    made.net.close()
    made.peer.close()
    made.sock.close()


def test_what_was_written_before_the_end_still_arrives(connection: Connection) -> None:
    connection.close_at_once_after(b"last words")
    assert connection.peer.recv(100) == b"last words"
    assert connection.peer.recv(100) == b""
    until(connection.closed)


def test_a_connection_whose_loop_ends_before_all_is_written_is_closed(connection: Connection) -> None:
    connection.close_at_once_after(MORE_THAN_FITS)
    assert not connection.closed()
    connection.net.close()
    assert connection.closed()


def test_a_connection_that_is_reset_while_it_waits_to_write_the_rest_is_closed(connection: Connection) -> None:
    """A broker that froze, was given up, and is killed."""
    connection.close_at_once_after(MORE_THAN_FITS)
    connection.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.peer.close()
    until(connection.closed)
