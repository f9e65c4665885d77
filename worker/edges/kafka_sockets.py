"""
What the client library gets wrong with its sockets, put right for all clients of the process.

It leaves to the garbage collector the sockets of connections and handshakes that came to nothing, and of connections
that were closed before all was written and then could not write it. While a broker is away there is a new one with
every attempt, and a worker whose long-lived objects are frozen is collected rarely: dozens stay open.

And it throws away what arrives together with the end of a connection. A broker that refuses a password says so and
hangs up; a client that wakes up a moment late would take that for a broker that is away, and try for ever.

Reaches into kafka-python 3.0 (pinned below 3.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kafka.net.inet import KafkaNetSocket
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport

_connect = KafkaNetSocket.sock_connect
_handshake = KafkaSSLTransport.handshake
_write = KafkaTCPTransport._write_to_sock  # noqa: SLF001


async def _connect_or_close(self: Any, net: Any, sock: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return await _connect(self, net, sock, *args, **kwargs)
    except BaseException:
        sock.close()
        raise


async def _handshake_or_close(self: Any) -> None:
    try:
        await _handshake(self)
    except BaseException:
        self._close()
        raise


async def _write_or_close(self: Any) -> None:
    """Write as before; a transport that was closed meanwhile is closed for good, written or not."""
    try:
        await _write(self)
    finally:
        if self._closed and self._sock is not None:
            self._write_task = None  # this very task: closing would cancel it
            self._close()


def _data_first(receive: Callable[[Any], tuple[bytes, Any]]) -> Callable[[Any], tuple[bytes, Any]]:
    """Return *receive* without the error that came with data: the next call meets the end of the connection again."""

    def received(self: Any) -> tuple[bytes, Any]:
        data, error = receive(self)
        return data, None if data else error

    return received


_receivers = {transport: _data_first(transport._sock_recv) for transport in (KafkaTCPTransport, KafkaSSLTransport)}  # noqa: SLF001


def install() -> None:
    """Let all clients of this process do so."""
    KafkaNetSocket.sock_connect = _connect_or_close
    KafkaSSLTransport.handshake = _handshake_or_close
    KafkaTCPTransport._write_to_sock = _write_or_close  # noqa: SLF001
    for transport, receiver in _receivers.items():
        transport._sock_recv = receiver  # noqa: SLF001
