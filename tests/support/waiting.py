"""Wait in tests for what becomes true by itself."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(true: Callable[[], object], *, within_s: float = 20.0, what: str = "", every_s: float = 0.02) -> None:
    """Return when *true*, asked *every_s*, says so. Raises: AssertionError after *within_s*."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what or true}"
        time.sleep(every_s)
