"""
A TCP proxy that does to whole connections what bad networks do: delay, stalls, tiny pieces, resets, silence.

It knows nothing of what flows through it; proxy.py has one that tells Kafka's requests apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from dataclasses import dataclass

_PIECE = 65_536
_HELD = 1_000
"""So many delayed pieces of one direction are held before the sender has to wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toxics:
    """What happens to all that passes, in both directions. The default harms nothing."""

    delay_s: float = 0.0
    """Everything arrives so much later."""
    stalls: float = 0.0
    """This share of the pieces is held up for *stall_s*, with all that follows on the connection."""
    stall_s: float = 1.0
    slice_bytes: int = 0
    """Everything is written in pieces of this size; 0: as it comes."""
    limit_bytes: int = 0
    """After so many bytes in one direction the connection is reset; 0: never."""
    silent: bool = False
    """Nothing arrives any more; connections stay open, and new ones are accepted."""


HARMLESS = Toxics()


class _Ended(Exception):
    """One side has closed, or the limit is reached."""


class TcpProxy:
    """Listens on a port of its own and forwards to *target*, a port of this machine. `close` ends it."""

    def __init__(self, target: int, *, port: int = 0) -> None:
        self.refusing = False
        """New connections are reset at once."""
        self._target = target
        self._toxics = HARMLESS
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        listening = socket.create_server(("127.0.0.1", port), backlog=512)
        self.port: int = listening.getsockname()[1]
        self._server = self._loop.run_until_complete(asyncio.start_server(self._accepted, sock=listening))
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp-proxy", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def toxics(self) -> Toxics:
        return self._toxics

    @toxics.setter
    def toxics(self, toxics: Toxics) -> None:
        """Apply from the next piece on; streams with a hole end when the silence does."""
        holed, self._toxics = self._toxics.silent, toxics
        if holed and not toxics.silent:
            self.reset()

    def reset(self) -> None:
        """Reset all connections (RST)."""

        def work() -> None:
            for writer in list(self._writers):
                _reset(writer)

        self._loop.call_soon_threadsafe(work)

    def close(self) -> None:
        async def work() -> None:
            self._server.close()
            for writer in list(self._writers):
                _reset(writer)
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(work(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            _reset(writer)
            return
        try:
            behind, onward = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            _reset(writer)
            return
        both = {writer, onward}
        self._writers |= both
        try:
            with contextlib.suppress(BaseExceptionGroup):
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._forward(reader, onward))
                    tasks.create_task(self._forward(behind, writer))
        finally:
            self._writers -= both
            for each in both:
                each.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_HELD)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._deliver(held, writer))
            while data := await reader.read(_PIECE):
                if not self._toxics.silent:
                    await held.put((self._loop.time() + self._toxics.delay_s, data))
            raise _Ended

    async def _deliver(self, held: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        passed = 0
        while True:
            due, data = await held.get()
            await asyncio.sleep(due - self._loop.time())
            toxics = self._toxics
            if toxics.stalls and random.random() < toxics.stalls:
                await asyncio.sleep(toxics.stall_s)
            if toxics.limit_bytes and passed + len(data) > toxics.limit_bytes:
                writer.write(data[: toxics.limit_bytes - passed])
                self._end(writer)
            passed += len(data)
            size = toxics.slice_bytes or len(data)
            for start in range(0, len(data), size):
                writer.write(data[start : start + size])
                await writer.drain()
                if toxics.slice_bytes:
                    await asyncio.sleep(0)

    @staticmethod
    def _end(writer: asyncio.StreamWriter) -> None:
        _reset(writer)
        raise _Ended


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close it without a goodbye: the other side gets RST."""
    stream = writer.get_extra_info("socket")
    if stream is not None:
        with contextlib.suppress(OSError):
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
