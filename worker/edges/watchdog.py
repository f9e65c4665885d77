"""Ends a process whose loop hangs or that does not stop in time, since a client library may wait without limit."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time

from worker.edges.process import ExitCode

logger = logging.getLogger(__name__)


class Watchdog:
    """A thread that ends the process when `beat` was not called for *limit_s*, or a stop takes longer than allowed."""

    def __init__(self, *, limit_s: float) -> None:
        self.limit_s = limit_s
        self._stamp = time.monotonic()
        self._deadline: float | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        self.beat()
        self._thread.start()

    def beat(self) -> None:
        """Show a sign of life; cheap enough for every batch."""
        self._stamp = time.monotonic()

    def age_s(self) -> float:
        """Return the seconds since the last sign of life."""
        return time.monotonic() - self._stamp

    def alive(self) -> bool:
        return self.age_s() < self.limit_s

    def stop_within(self, seconds: float) -> None:
        """From now on the process has *seconds* to end by itself; the first call counts."""
        if self._deadline is None:
            self._deadline = time.monotonic() + seconds

    def close(self) -> None:
        """Watch no longer."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(min(1.0, self.limit_s / 10)):
            if self._deadline is not None and time.monotonic() > self._deadline:
                _end(ExitCode.RESTART, "the process did not stop in time")
            if not self.alive():
                _end(ExitCode.WATCHDOG, f"the loop showed no sign of life for {self.age_s():.0f} s")


def _end(code: ExitCode, why: str) -> None:
    """Say why, show where every thread stands, and go without asking anyone."""
    logger.critical(why, extra={"exit": int(code)})
    faulthandler.dump_traceback(file=sys.__stderr__ or 2, all_threads=True)
    os._exit(code)
