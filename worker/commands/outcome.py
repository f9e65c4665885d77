"""What `dateline run` looks up in the log: whether all is worked off, what came out, and each new story to show."""

from __future__ import annotations

import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping

from worker import wire
from worker.commands.output import write
from worker.commands.story_line import Painter, line_of
from worker.enriching import TopicNames
from worker.ports import Log, LogError, LogUnavailable, TopicPartition

logger = logging.getLogger(__name__)
Offsets = Mapping[TopicPartition, int]


def ends(log: Log, topics: list[str]) -> dict[TopicPartition, int]:
    """Return by partition the offset that the next record will get."""
    return {place: end for place, (_, end) in log.bounds(topics).items()}


def drained(log: Log, group: str, topic: str) -> bool:
    """Tell whether *group* has committed all that *topic* holds."""
    committed = log.committed(group, [topic])
    return all(committed.get(place, first) >= end for place, (first, end) in log.bounds([topic]).items())


def outcomes(log: Log, names: TopicNames, start: Offsets) -> Counter[str]:
    """Count by kind what was committed to the output topics since *start*: new, update, repeat, copy, dead-letter."""
    topics = [names.enriched, names.duplicates, names.dead_letter]
    reader = log.reader(topics, start={place: offset for place, offset in start.items() if place[0] in topics})
    counts: Counter[str] = Counter()
    try:
        while True:
            records = reader.read(timeout_s=1.0, max_records=2000)
            for record in records:
                dead = record.topic == names.dead_letter
                counts["dead-letter" if dead else wire.header(record.headers, "kind") or "?"] += 1
            if not records and reader.at_end():
                return counts
    finally:
        reader.close()


class StoryPrinter(threading.Thread):
    """Prints each enriched story as it is committed, from a thread with a log of its own."""

    def __init__(self, open_log: Callable[[], Log], topic: str, start: Offsets) -> None:
        super().__init__(name="printer", daemon=True)
        self._open_log = open_log
        self._topic = topic
        self._start_offsets = {place: offset for place, offset in start.items() if place[0] == topic}
        self._finish = threading.Event()
        self.broken = False
        """Set when nobody reads our output any more."""

    def finish(self, *, within_s: float) -> None:
        """Print what is there, then end."""
        self._finish.set()
        self.join(within_s)

    def run(self) -> None:
        try:
            log = self._open_log()
            try:
                self._print(log)
            finally:
                log.close()
        except BrokenPipeError:
            self.broken = True
        except LogError as error:
            logger.warning("stories are no longer shown", exc_info=error)

    def _print(self, log: Log) -> None:
        paint = Painter(colour=sys.stdout.isatty())
        reader = log.reader([self._topic], start=self._start_offsets)
        try:
            while True:
                finishing = self._finish.is_set()
                try:
                    records = reader.read(timeout_s=0.2)
                except LogUnavailable:
                    records = ()
                    if not finishing:
                        self._finish.wait(1.0)
                for record in records:
                    write(line_of(record, paint))
                if finishing and not records:
                    return
        finally:
            reader.close()
