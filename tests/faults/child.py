"""
A worker that dies, or dawdles, at a chosen point: `python -m tests.faults.child POINT NUMBER enrich …`.

POINT is one of POINTS, and the process kills itself with SIGKILL when it gets there for the NUMBERth time; or `slow`,
where each batch takes NUMBER seconds longer than the group waits for a member.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from kafka import KafkaProducer

from worker.cli import main as run
from worker.edges import kafka_clients, kafka_consumer, kafka_member, kafka_settings
from worker.edges.sqlite_member import SqliteMember
from worker.edges.sqlite_seen import SqliteSeen
from worker.edges.valkey_seen import ValkeySeen
from worker.loops.enricher import Enricher

SLOW_POLL_MS = 6_000
"""The longest pause between two polls that a `slow` worker's group accepts."""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _after(kind: Any, method: str, times: int) -> None:
    """Die behind the call of *method*, the last of *times*."""
    original: Callable[..., Any] = getattr(kind, method)
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        result = original(*args, **kwargs)
        calls += 1
        if calls >= times:
            _die()
        return result

    setattr(kind, method, wrapped)


def _during(kind: Any, method: str, times: int) -> None:
    """Die some milliseconds after *method* has begun, for the last of *times*."""
    original: Callable[..., Any] = getattr(kind, method)
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls >= times:
            threading.Timer(0.001 * (1 + os.getpid() % 4), _die).start()
        return original(*args, **kwargs)

    setattr(kind, method, wrapped)


POINTS: dict[str, Callable[[int], None]] = {
    "judged": lambda times: _after(ValkeySeen, "judge", times),
    "sent": lambda times: _after(KafkaProducer, "send", times * 100),
    "flushed": lambda times: _after(kafka_member, "check_acknowledged", times),
    "offsets-sent": lambda times: _after(kafka_clients, "send_offsets", times),
    "committing": lambda times: _during(kafka_clients, "commit", times),
    "committed": lambda times: _after(kafka_clients, "commit", times),
}
"""On Kafka; on the embedded log: EMBEDDED_POINTS."""
EMBEDDED_POINTS: dict[str, Callable[[int], None]] = {
    "judged-embedded": lambda times: _after(SqliteSeen, "judge", times),
    "committing-embedded": lambda times: _during(SqliteMember, "commit", times),
    "committed-embedded": lambda times: _after(SqliteMember, "commit", times),
}


def _slow(seconds: int) -> None:
    """Let the third batch take *seconds* longer than the group waits."""
    original: Callable[..., kafka_settings.Config] = vars(kafka_consumer)["joining"]

    def impatient(*args: Any, **kwargs: Any) -> kafka_settings.Config:
        return original(*args, **kwargs) | {"max_poll_interval_ms": SLOW_POLL_MS}

    vars(kafka_consumer)["joining"] = impatient
    tag: Callable[..., Any] = vars(Enricher)["_tag"]
    calls = 0

    def dawdling(self: Enricher, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls % 3 == 0 and calls < 10:
            time.sleep(SLOW_POLL_MS / 1000 + seconds)
        return tag(self, *args)

    setattr(Enricher, "_tag", dawdling)  # noqa: B010  (a method of another's class)


def main() -> int:
    """Change the program, then run it."""
    point, number, *command = sys.argv[1:]
    change = (POINTS | EMBEDDED_POINTS | {"slow": _slow})[point]
    change(int(number))
    return run(command)


if __name__ == "__main__":
    sys.exit(main())
