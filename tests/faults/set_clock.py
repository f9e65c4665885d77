"""
Run this program with a time of day that the file TEST_CLOCK sets, in seconds ahead of the true one; see test_clock.py.

The monotonic clocks stay as they are, as they do when a machine's clock is set. (libfaketime 0.9.10, which would do it
from outside, makes every `time.sleep` of Python 3.11 fail.)
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

from worker.__main__ import main
from worker.edges.clock import SystemClock

_true_time = time.time


def _time() -> float:
    return _true_time() + float(Path(os.environ["TEST_CLOCK"]).read_text())


def _now(_: SystemClock) -> datetime:
    return datetime.fromtimestamp(_time(), UTC)


time.time = _time
SystemClock.now = _now  # type: ignore[assignment, method-assign]

if __name__ == "__main__":
    main()
