"""The proxy does what it says, else the faults behind it show nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.tcp_proxy import HARMLESS, TcpProxy, Toxics
from tests.support.waiting import until


@pytest.fixture
def proxy() -> Iterator[TcpProxy]:
    """Return a proxy before a server that gives back what it gets."""
    server = socket.create_server(("127.0.0.1", 0))

    def echo(stream: socket.socket) -> None:
        with contextlib.suppress(OSError), stream:
            while data := stream.recv(65536):
                stream.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=echo, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    made = TcpProxy(server.getsockname()[1])
    yield made
    made.close()
    server.close()


def connected(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def exchange(stream: socket.socket, data: bytes) -> bytes:
    stream.sendall(data)
    found = b""
    while len(found) < len(data):
        part = stream.recv(65536)
        if not part:
            break
        found += part
    return found


def trickle(stream: socket.socket) -> None:
    for _ in range(1000):
        stream.sendall(b"x" * 100)
        time.sleep(0.001)


def test_what_passes_is_whole_whatever_slows_it(proxy: TcpProxy) -> None:
    data = bytes(range(256)) * 100
    for toxics in (HARMLESS, Toxics(slice_bytes=64), Toxics(stalls=0.5, stall_s=0.05), Toxics(delay_s=0.1)):
        proxy.toxics = toxics
        with connected(proxy) as stream:
            assert exchange(stream, data) == data


def test_a_delay_is_one_of_each_direction_and_not_of_each_piece(proxy: TcpProxy) -> None:
    proxy.toxics = Toxics(delay_s=0.3)
    with connected(proxy) as stream:
        began = time.monotonic()
        for _ in range(10):
            stream.sendall(b"x")
            time.sleep(0.02)
        until(lambda: len(stream.recv(100, socket.MSG_PEEK)) == 10, what="all ten")
        assert 0.6 <= time.monotonic() - began < 3


def test_connections_are_reset_on_demand_and_at_the_limit(proxy: TcpProxy) -> None:
    with connected(proxy) as stream:
        assert exchange(stream, b"x") == b"x"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            stream.recv(1)
    proxy.toxics = Toxics(limit_bytes=1000)
    with connected(proxy) as stream, pytest.raises((ConnectionResetError, BrokenPipeError)):
        trickle(stream)


def test_silence_keeps_connections_open_and_ends_with_a_reset(proxy: TcpProxy) -> None:
    with connected(proxy) as stream:
        proxy.toxics = Toxics(silent=True)
        stream.sendall(b"x")
        stream.settimeout(0.5)
        with pytest.raises(TimeoutError):
            stream.recv(1)
        proxy.toxics = HARMLESS
        stream.settimeout(5)
        with pytest.raises(ConnectionResetError):
            stream.recv(1)
    with connected(proxy) as stream:
        assert exchange(stream, b"x") == b"x"


def test_a_refusing_proxy_resets_what_is_new(proxy: TcpProxy) -> None:
    proxy.refusing = True
    with contextlib.suppress(ConnectionResetError), connected(proxy) as stream:
        assert stream.recv(1) == b""
