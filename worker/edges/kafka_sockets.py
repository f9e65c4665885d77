"""
What the client library gets wrong with its sockets, put right for all clients of the process.

It leaves the sockets of connections and handshakes that came to nothing to the garbage collector. While a broker is
away there is a new one with every attempt, and a worker whose long-lived objects are frozen is collected rarely: dozens
stay open.

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
    for transport, receiver in _receivers.items():
        transport._sock_recv = receiver  # noqa: SLF001
