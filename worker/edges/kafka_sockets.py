"""
Close the sockets of connections that could not be made: the client library leaves them to the garbage collector.

While a broker is away there is a new one with every attempt, and a worker whose long-lived objects are frozen is
collected rarely: dozens stay open. Reaches into kafka-python 3.0 (pinned below 3.1).
"""

from __future__ import annotations

from typing import Any

from kafka.net.inet import KafkaNetSocket

_connect = KafkaNetSocket.sock_connect


async def _connect_or_close(self: Any, net: Any, sock: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return await _connect(self, net, sock, *args, **kwargs)
    except BaseException:
        sock.close()
        raise


def install() -> None:
    """Let all clients of this process do so."""
    KafkaNetSocket.sock_connect = _connect_or_close
