"""
The poller's way to the log: many feeds put records in, one thread appends them, each `put` returns when they are safe.

Nothing waits for company: a batch goes as soon as the thread is free, and what came meanwhile goes together.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from worker.polling import PollerEvents
from worker.ports import Appender, LogUnavailable, NewRecord

MAX_BATCH_BYTES = 4 * 1024 * 1024
MAX_WAITING_BYTES = 32 * 1024 * 1024
"""Beyond this `put` makes its caller wait: the memory of a poller whose log is away."""
_FIRST_RETRY_S = 0.2
_LAST_RETRY_S = 5.0


class Outbox:
    """Appends records outside the event loop; retries for ever while the log is away."""

    def __init__(
        self,
        open_appender: Callable[[], Appender],
        executor: Executor,
        events: PollerEvents,
        *,
        timeout_s: float = 10.0,
    ) -> None:
        """*open_appender* and all else of the appender run in *executor*, which must have one thread."""
        self._open = open_appender
        self._executor = executor
        self._events = events
        self._timeout_s = timeout_s
        self._appender: Appender | None = None
        self._waiting: deque[tuple[Sequence[NewRecord], int, asyncio.Future[None]]] = deque()
        self._bytes = 0
        self._changed = asyncio.Condition()
        self.available = asyncio.Event()
        """Clear while the log is away: a reason not to fetch."""
        self.available.set()

    async def put(self, records: Sequence[NewRecord]) -> None:
        """
        Return when *records* are acknowledged, in this order, together or after those put before.

        Raises: LogError: the log refuses for good; the poller must stop.
        """
        if not records:
            return
        size = sum(len(record.value or b"") for record in records)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        async with self._changed:
            await self._changed.wait_for(lambda: not self._waiting or self._bytes + size <= MAX_WAITING_BYTES)
            self._waiting.append((records, size, done))
            self._bytes += size
            self._changed.notify_all()
        await done

    async def run(self) -> None:
        """Append what is put, until cancelled. Raises: LogError: the log refuses for good."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._waiting)
            batch = self._take()
            records = [record for its, _, _ in batch for record in its]
            try:
                await self._append(records)
            except BaseException as error:
                for _, _, done in batch:
                    if not done.done():
                        done.set_exception(error) if isinstance(error, Exception) else done.cancel()
                raise
            async with self._changed:
                self._bytes -= sum(size for _, size, _ in batch)
                self._changed.notify_all()
            for _, _, done in batch:
                if not done.done():  # its feed may have been cancelled
                    done.set_result(None)

    async def close(self) -> None:
        """Release the appender, after what it is doing now."""
        if self._appender is not None:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._appender.close)

    def _take(self) -> list[tuple[Sequence[NewRecord], int, asyncio.Future[None]]]:
        batch = [self._waiting.popleft()]
        size = batch[0][1]
        while self._waiting and size + self._waiting[0][1] <= MAX_BATCH_BYTES:
            batch.append(self._waiting.popleft())
            size += batch[-1][1]
        return batch

    async def _append(self, records: Sequence[NewRecord]) -> None:
        loop = asyncio.get_running_loop()
        pause = _FIRST_RETRY_S
        while True:
            try:
                await loop.run_in_executor(self._executor, self._append_now, records)
            except LogUnavailable as error:
                if self.available.is_set():
                    self.available.clear()
                    self._events.log_away(str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LAST_RETRY_S)
            else:
                break
        if not self.available.is_set():
            self.available.set()
            self._events.log_back()

    def _append_now(self, records: Sequence[NewRecord]) -> None:
        if self._appender is None:
            self._appender = self._open()
        self._appender.append(records, timeout_s=self._timeout_s)
