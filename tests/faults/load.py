"""
A stream of raw records that say what must become of them (see oracle.py), appended at a steady rate.

Of ten records one repeats, one updates and one copies the record before it; of fifty one is damaged.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable
from dataclasses import replace

from tests.make import raw_article, raw_record
from worker.ports import Log, LogUnavailable, NewRecord

GROUP = 10
"""Records that belong together: they are appended in one call, so that a repeat never comes without its original."""
_SYLLABLES = [first + second for first in "bdfghklmnprstvz" for second in ("a", "e", "i", "o", "u", "ar", "el", "on")]
_POISON = (b"\xff\xfe not UTF-8", b"{", b"[1,2,3]", b'{"story": 7}', b"[" * 10_000, b'{"n": ' + b"9" * 10_000 + b"}")


def text(number: int) -> str:
    """Return a text that is like no other number's: some of them are about sanctions, so that a route takes them."""
    chance = random.Random(number)
    words = ["".join(chance.choices(_SYLLABLES, k=chance.randint(2, 3))) for _ in range(60)]
    sentences = " ".join(" ".join(words[at : at + 12]).capitalize() + "." for at in range(0, 60, 12))
    if number % 4 == 0:
        return f"The Security Council extended its sanctions against North Korea on Monday. {sentences}"
    return sentences


def records(numbers: Iterable[int], topic: str) -> list[NewRecord]:
    """Return the raw records of these *numbers*: each depends on its own number only."""
    return [_record(number, topic) for number in numbers]


def _record(number: int, topic: str) -> NewRecord:
    place = number % GROUP
    about = number - 1 if place in (3, 5) else number
    link = number - 1 if place in (5, 7) else number
    expect = {2: f"copies:{number}", 3: f"copies:{number - 1}", 5: "repeat", 7: "update"}.get(place, "story")
    words = text(about)
    article = raw_article(f"n{link}", title=" ".join(words.split()[-8:]), summary=f"<p>{words}</p>")
    made = raw_record(article, topic=topic)
    value = made.value
    if number % 50 == 49:
        expect, value = "bad", _POISON[number // 50 % len(_POISON)]
    names = (("x-id", b"n%d" % number), ("x-expect", expect.encode()))
    return replace(made, value=value, headers=(*made.headers, *names))


class Load:
    """Appends records in a thread until it is stopped; what it could not append for sure it never sends again."""

    def __init__(self, log: Log, topic: str, *, per_second: float, start: int = 0) -> None:
        self._log = log
        self._topic = topic
        self.per_second = per_second
        self._next = start
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")
        self.failures = 0
        """Appends whose end is not known: their records may be there or not."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Return when the last append is done."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        appender = self._log.appender()
        due = time.monotonic()
        while not self._stopping.is_set():
            # Behind time it sends several groups at once; after a pause of the log it does not make up for all of it.
            pause_s = GROUP / self.per_second
            groups = max(1, min(50, int((time.monotonic() - due) / pause_s)))
            due = max(due + groups * pause_s, time.monotonic() - 1.0)
            numbers = range(self._next, self._next + groups * GROUP)
            self._next = numbers.stop
            try:
                appender.append(records(numbers, self._topic), timeout_s=10)
            except LogUnavailable:
                self.failures += 1
                self._stopping.wait(0.5)
            self._stopping.wait(max(0.0, due - time.monotonic()))
        appender.close()
