"""
A TCP proxy between a Kafka client and its broker that knows requests apart, and can lose, cut or change chosen ones.

The broker has a listener of its own for it, so that clients which start at the proxy are told no other address.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from enum import Enum, auto

from tests.support.services import KafkaBroker, free_ports

PRODUCE, FETCH, OFFSET_FETCH, JOIN_GROUP, HEARTBEAT, ADD_OFFSETS, END_TXN, TXN_OFFSETS = 0, 1, 9, 11, 12, 25, 26, 28


class Fate(Enum):
    """What becomes of a request."""

    PASS = auto()
    CUT = auto()
    """It does not arrive, and its connection ends."""
    LOSE = auto()
    """It does not arrive, nor does anything after it on this connection, which stays open."""
    UNANSWERED = auto()
    """It arrives; its answer and all later ones on this connection do not."""


Rule = Callable[[int, bytes], "Fate | bytes"]
"""Given a request's API key and its bytes, return its fate or what to send instead."""


def passing(_key: int, _request: bytes) -> Fate:
    """Let everything through."""
    return Fate.PASS


class Once:
    """A rule for the first request with *key* after `arm`; all others pass."""

    def __init__(self, key: int, fate: Fate) -> None:
        self._key, self._fate = key, fate
        self.armed = False
        self.done = threading.Event()

    def __call__(self, key: int, _request: bytes) -> Fate:
        if not self.armed or key != self._key:
            return Fate.PASS
        self.armed = False
        self.done.set()
        return self._fate


class KafkaProxy:
    """Listens on a port of its own and forwards to *target*, a port of this machine."""

    def __init__(self, target: int, *, port: int) -> None:
        self.port = port
        self.rule: Rule = passing
        self.refusing = False
        """New connections are closed at once."""
        self._target = target
        self._open: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def reset(self) -> None:
        """Pass everything again."""
        self.rule, self.refusing = passing, False

    def cut(self) -> None:
        """End all connections."""
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.refusing = True
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if self.refusing:
                client.close()
                continue
            try:
                broker = socket.create_connection(("127.0.0.1", self._target), timeout=10)
            except OSError:
                client.close()
                continue
            broker.settimeout(None)
            _Connection(self, client, broker, self._open)


class _Connection:
    """One client's connection, with a thread for each direction."""

    def __init__(
        self, proxy: KafkaProxy, client: socket.socket, broker: socket.socket, alive: set[socket.socket]
    ) -> None:
        self._proxy, self._client, self._broker, self._alive = proxy, client, broker, alive
        self._silent_from: bytes | None = None
        self._ended = 0
        self._lock = threading.Lock()
        alive.update((client, broker))
        for work in (self._requests, self._answers):
            threading.Thread(target=self._until_end, args=(work,), name="proxied", daemon=True).start()

    def _until_end(self, work: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):
            work()
        for each in (self._client, self._broker):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._ended += 1
            if self._ended < 2:
                return
        for each in (self._client, self._broker):
            self._alive.discard(each)
            each.close()

    def _requests(self) -> None:
        lost = False
        while (request := _frame(self._client)) is not None:
            if lost:
                continue
            fate = self._proxy.rule(struct.unpack_from(">h", request)[0], request)
            if fate is Fate.CUT:
                return
            if fate is Fate.LOSE:
                lost = True
                continue
            if fate is Fate.UNANSWERED:
                self._silent_from = request[4:8]
            sent = fate if isinstance(fate, bytes) else request
            self._broker.sendall(struct.pack(">i", len(sent)) + sent)

    def _answers(self) -> None:
        silent = False
        while (answer := _frame(self._broker)) is not None:
            silent = silent or answer[:4] == self._silent_from
            if not silent:
                self._client.sendall(struct.pack(">i", len(answer)) + answer)


def _frame(stream: socket.socket) -> bytes | None:
    """Return the next request or answer; None at the end."""
    head = _exactly(stream, 4)
    return None if head is None else _exactly(stream, struct.unpack(">i", head)[0])


def _exactly(stream: socket.socket, count: int) -> bytes | None:
    parts = b""
    while len(parts) < count:
        part = stream.recv(min(65536, count - len(parts)))
        if not part:
            return None
        parts += part
    return parts


class ProxiedBroker(KafkaBroker):
    """A broker of one's own that can also be reached through `proxy`."""

    proxy: KafkaProxy

    def __init__(self) -> None:
        super().__init__(own=True)
        behind, before = free_ports(2)
        self.listen_also(f"127.0.0.1:{behind}", told=f"127.0.0.1:{before}")
        self.proxy = KafkaProxy(behind, port=before)

    def remove(self) -> None:
        self.proxy.close()
        super().remove()
