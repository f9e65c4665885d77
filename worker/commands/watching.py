"""What `dateline run` sees of its workers, all from the log: it prints each story, and keeps the status page."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping

from worker import wire
from worker.commands.outcome import Offsets
from worker.commands.output import write
from worker.commands.story_line import Painter, line_of
from worker.edges.status_board import StatusBoard
from worker.enriching import TopicNames
from worker.ports import Log, LogError, LogRecord, LogUnavailable, TopicPartition
from worker.records import Rejected
from worker.status import MAX_STORIES

logger = logging.getLogger(__name__)
_LAG_S = 2.0
_OUTCOMES = ("new", "update", "repeat", "copy")


class WatchedWorkers:
    """
    What the workers put on the log, on the board: they have no page of their own for the parent to ask.

    On a shared cluster that is what all workers of the installation do, not only those of this run.
    """

    def __init__(self, board: StatusBoard, names: TopicNames, group: str, start: Offsets) -> None:
        """*start*: by partition of the output topics, where this run begins; what is before is shown, not counted."""
        self._board = board
        self._names = names
        self._group = group
        self._start = start
        self._counts = dict.fromkeys(("read", *_OUTCOMES, "dead-letter"), 0)
        self._lag: dict[int, int | None] = {}
        self._again_at = 0.0
        board.process, board.shows_stories = "poller and workers on this machine", True
        board.counts.append(lambda: self._counts)
        board.partitions = lambda: self._lag

    def offsets(self) -> dict[TopicPartition, int]:
        """Return where to begin to read, so that the page is not empty after a restart."""
        enriched = [place for place in self._start if place[0] == self._names.enriched]
        back = -(-MAX_STORIES // max(1, len(enriched)))
        return {place: max(0, end - back) if place in enriched else end for place, end in self._start.items()}

    def saw(self, record: LogRecord) -> None:
        """Count *record*, and show the story that it holds."""
        if record.offset >= self._start.get((record.topic, record.partition), 0):
            dead = record.topic == self._names.dead_letter
            kind = "dead-letter" if dead else wire.header(record.headers, "kind")
            if kind in self._counts:
                # Whole, since another thread reads it. A raw record is read when it has its one end.
                counts = self._counts
                self._counts = {**counts, kind: counts[kind] + 1, "read": counts["read"] + 1}
        if record.topic == self._names.enriched:
            document = wire.decode_enriched(record.value)
            if not isinstance(document, Rejected):
                routes = (wire.header(record.headers, "routes") or "").split(",")
                self._board.read_back(document, filter(None, routes))

    def look(self, log: Log) -> None:
        """Look up now and then how far behind the workers are."""
        if time.monotonic() < self._again_at:
            return
        self._again_at = time.monotonic() + _LAG_S
        committed = log.committed(self._group, [self._names.raw])
        bounds = log.bounds([self._names.raw])
        self._lag = {place[1]: end - committed.get(place, first) for place, (first, end) in bounds.items()}


class StoryPrinter(threading.Thread):
    """Prints each enriched story as it is committed, from a thread with a log of its own."""

    def __init__(
        self,
        open_log: Callable[[], Log],
        topic: str,
        start: Mapping[TopicPartition, int],
        watched: WatchedWorkers | None,
    ) -> None:
        super().__init__(name="printer", daemon=True)
        self._open_log = open_log
        self._topic = topic
        self._begin = start
        self._watched = watched
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
        offsets = self._begin if self._watched is None else self._watched.offsets()
        start = {place: at for place, at in offsets.items() if self._watched is not None or place[0] == self._topic}
        reader = log.reader(sorted({topic for topic, _ in start}), start=start)
        try:
            while True:
                finishing = self._finish.is_set()
                try:
                    if self._watched is not None and not finishing:
                        self._watched.look(log)
                    records = reader.read(timeout_s=0.2)
                except LogUnavailable:
                    records = ()
                    if not finishing:
                        self._finish.wait(1.0)
                for record in records:
                    if self._watched is not None:
                        self._watched.saw(record)
                    if record.topic == self._topic and record.offset >= self._begin[record.topic, record.partition]:
                        write(line_of(record, paint))
                if finishing and not records:
                    return
        finally:
            reader.close()
