"""The only clock: the loops and commands get it as an argument."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from worker.edges.process import StopFlag


class SystemClock:
    """The machine's clock; a sleep ends early when the process is asked to stop."""

    def __init__(self, stopping: StopFlag | None = None) -> None:
        self._stopping = stopping or StopFlag()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        self._stopping.wait(seconds)
