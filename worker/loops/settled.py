"""
Records that come a second time though they were committed: they went out, and do not go out again.

A broker that was killed has been seen to come back with offsets of its groups of long ago. A member that lived through
it knows better (its log's business); one that starts, or gets a partition, after it does not. The seen store gives it
the hint, and the records' own ends on the output topics the proof: no record is left out whose end is not there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from worker import wire
from worker.ports import Log, LogRecord, SeenStore, TopicPartition, UnreadableInput
from worker.records import Coordinates

_LOG = logging.getLogger(__name__)
MOST_S = 60.0
"""So long are ends looked for: a member must come back to its group."""
Ends = Callable[[int], Mapping[Coordinates, int]]
"""Takes a time; returns when the last end of each raw record was written since then, both in ms since 1970."""


class Settled:
    """Watches what a worker's partitions begin with, until it has committed there itself."""

    def __init__(self, seen: SeenStore, ends: Ends | None) -> None:
        """Without *ends* nothing is ever left out."""
        self._seen = seen
        self._read = ends
        self._sure: set[TopicPartition] = set()
        self._hints: dict[TopicPartition, int] = {}
        """By partition that we are not sure of: up to where the seen store was told of commits."""
        self._ends: Mapping[Coordinates, int] = {}
        self._since: int | None = None
        """The time from which `_ends` is complete."""

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Forget those that are not among *partitions*: others may work on them."""
        self._sure.intersection_update(partitions)
        self._hints = {place: hint for place, hint in self._hints.items() if place in partitions}

    def went_out(self, records: Sequence[LogRecord]) -> frozenset[Coordinates]:
        """Return which of *records* have their end on the output topics. Raises: SeenStoreAway, LogError."""
        if self._read is None:
            return frozenset()
        unsure = [record for record in records if (record.topic, record.partition) not in self._sure]
        places = {(record.topic, record.partition) for record in unsure} - self._hints.keys()
        if places:
            self._hints.update(dict.fromkeys(places, 0) | dict(self._seen.passed(places)))
        odd = [record for record in unsure if record.offset < self._hints[record.topic, record.partition]]
        since = min((record.timestamp_ms for record in odd), default=None)
        if since is not None and (self._since is None or since < self._since):
            at = {"topic": odd[0].topic, "partition": odd[0].partition, "offset": odd[0].offset}
            _LOG.error("the log may have forgotten what the group had committed; looking for what went out", extra=at)
            self._ends, self._since = self._read(since), since
        if not self._ends:
            return frozenset()
        # Written later than the raw record: else the end of another one, at the same place of a topic since made anew.
        out = frozenset(
            record.coordinates for record in unsure if self._ends.get(record.coordinates, -1) >= record.timestamp_ms
        )
        if out:
            _LOG.warning("went out before; only their offsets are committed", extra={"records": len(out)})
        return out

    def committed(self, offsets: Mapping[TopicPartition, int], out: frozenset[Coordinates]) -> None:
        """Note the *offsets* that a batch was committed up to, of which *out* had gone out before."""
        again = {(each.topic, each.partition) for each in out}
        for place, offset in offsets.items():
            if place not in self._sure and place not in again and offset >= self._hints.get(place, 0):
                self._sure.add(place)
                self._hints.pop(place, None)
        if not self._hints:
            self._ends, self._since = {}, None


def ends_since(log: Log, topics: Collection[str], since_ms: int, *, beat: Callable[[], None]) -> dict[Coordinates, int]:
    """
    Read the output *topics*; see Ends. What a replay wrote is no end.

    Ends early, and says so, after MOST_S or at what cannot be unpacked. Raises: LogError.
    """
    found: dict[Coordinates, int] = {}
    deadline = time.monotonic() + MOST_S
    reader = log.reader(list(topics), from_ms=since_ms)
    try:
        while not reader.at_end():
            beat()
            if time.monotonic() > deadline:
                _LOG.error(
                    "not all that went out could be looked at within %.0f s", MOST_S, extra={"found": len(found)}
                )
                break
            for record in reader.read(timeout_s=1.0, max_records=2000):
                raw = wire.raw_coordinates(record.headers)
                if raw is not None and wire.header(record.headers, "reprocessed") is None:
                    found[raw] = max(record.timestamp_ms, found.get(raw, 0))
    except UnreadableInput as error:
        _LOG.error("not all that went out can be read: %s", error, extra={"found": len(found)})
    finally:
        reader.close()
    return found
