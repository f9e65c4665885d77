"""
A poller that asks often, and may die at a chosen point: `python -m tests.faults.poller_child POINT NUMBER poll …`.

POINT is one of POINTS, where the process kills itself with SIGKILL when it gets there for the NUMBERth time, or `none`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from worker.cli import main as run
from worker.edges import feed_settings
from worker.edges.fetch import HttpFetcher
from worker.edges.kafka_log import KafkaAppender
from worker.edges.sqlite_log import SqliteAppender
from worker.loops.feed_poll import FeedPoll
from worker.loops.poller import Poller

INTERVAL_S = 1.0
"""Between two polls of a feed: less than people may configure."""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _appended(times: int) -> None:
    """Die with the records in the log, and nobody told."""
    calls = 0
    for kind in (KafkaAppender, SqliteAppender):
        original: Callable[..., None] = vars(kind)["append"]

        def wrapped(*args: Any, original: Callable[..., None] = original, **kwargs: Any) -> None:
            nonlocal calls
            original(*args, **kwargs)
            calls += 1
            if calls >= times:
                _die()

        setattr(kind, "append", wrapped)  # noqa: B010  (a method of another's class)


def _appending(times: int) -> None:
    """Die some milliseconds after an append has begun."""
    calls = 0
    for kind in (KafkaAppender, SqliteAppender):
        original: Callable[..., None] = vars(kind)["append"]

        def wrapped(*args: Any, original: Callable[..., None] = original, **kwargs: Any) -> None:
            nonlocal calls
            calls += 1
            if calls >= times:
                threading.Timer(0.001 * (os.getpid() % 5), _die).start()
            original(*args, **kwargs)

        setattr(kind, "append", wrapped)  # noqa: B010  (a method of another's class)


def _behind(kind: Any, method: str) -> Callable[[int], None]:
    """Die behind the asynchronous *method*."""

    def change(times: int) -> None:
        original: Callable[..., Any] = vars(kind)[method]
        calls = 0

        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            result = await original(*args, **kwargs)
            calls += 1
            if calls >= times:
                _die()
            return result

        setattr(kind, method, wrapped)

    return change


POINTS: dict[str, Callable[[int], None]] = {
    "fetched": _behind(HttpFetcher, "fetch"),
    "appending": _appending,
    "appended": _appended,
    "published": _behind(FeedPoll, "__call__"),
    "state-stored": _behind(Poller, "_poll_feed"),
}
"""In the order of a poll: its articles are in the log when it is `published`, its state is not."""


def main() -> int:
    """Change the program, then run it."""
    point, number, *command = sys.argv[1:]
    feed_settings.MIN_INTERVAL_S = INTERVAL_S
    if point != "none":
        POINTS[point](int(number))
    return run(command)


if __name__ == "__main__":
    sys.exit(main())
