"""The reading behind `dateline audit`: enters what the topics hold into a ledger and says what does not add up."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from worker import wire
from worker.commands.ledger import Finding, Ledger
from worker.commands.output import Progress
from worker.enriching import TopicNames
from worker.loops.past import records_between
from worker.ports import Log, LogRecord, TopicPartition

CLOCKS_APART_MS = 600_000
"""Timestamps are those of the writers' machines: ends are looked for from so much earlier on."""
_BAD = ("lost", "doubled", "no-raw-record", "copy-missing", "copy-doubled", "copy-without-enriched")
_EVERY = 5_000


@dataclass(slots=True)
class Problem:
    """A raw record that the books do not close on, for people."""

    what: str
    raw: str
    time: str = ""
    ends: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """What an audit found."""

    counts: dict[str, int]
    notes: list[str]
    problems: list[Problem]
    good: bool

    def plain(self) -> dict[str, object]:
        problems = [
            {"what": each.what, "raw": each.raw, "time": each.time, "ends": each.ends} for each in self.problems
        ]
        return {"accounted": self.good, "counts": self.counts, "notes": self.notes, "problems": problems}

    def lines(self) -> Iterator[str]:
        for name, count in self.counts.items():
            yield f"{name}\t{count}"
        for note in self.notes:
            yield f"note\t{note}"
        for each in self.problems:
            yield "\t".join((each.what, each.raw, each.time, *each.ends))
        yield f"accounted\t{'yes' if self.good else 'NO'}"


class Audit:
    """One reading of the raw topic, then of the outputs; further ones only where something is wrong."""

    def __init__(
        self,
        log: Log,
        names: TopicNames,
        routes: Mapping[str, str],
        *,
        group: str,
        from_ms: int | None,
        until_ms: int | None,
        compacted_before_ms: int,
        limit: int,
        shown: Progress,
    ) -> None:
        """*routes*: their topics, by name; *compacted_before_ms*: what is older, later versions may have replaced."""
        self._log = log
        self._names = names
        self._routes = routes
        self._group = group
        self._from_ms = from_ms
        self._until_ms = until_ms
        self._compacted_before_ms = compacted_before_ms
        self._limit = limit
        self._shown = shown
        self._ledger = Ledger()
        self._committed: dict[int, int] = {}
        self._notes: list[str] = []
        self._read = 0
        self._strangers = 0
        there = log.topics()
        self._end_topics = [t for t in (names.enriched, names.duplicates, names.dead_letter) if t in there]
        self._route_topics = [topic for topic in dict.fromkeys(routes.values()) if topic in there]
        self._unknown_routes: set[str] = set()

    def report(self) -> Report:
        # Read first: all that these offsets have passed has its end in what is read afterwards.
        committed = self._log.committed(self._group, [self._names.raw])
        self._committed = {partition: offset for (_, partition), offset in committed.items()}
        if not committed:
            self._notes.append(f"the group {self._group} has committed nothing: all without an end count as in flight")
        self._read_raw()
        since = None if self._from_ms is None else max(0, self._from_ms - CLOCKS_APART_MS)
        outputs = [*self._end_topics, *self._route_topics]
        starts = self._read_outputs(outputs, from_ms=since)
        if since is not None and any(self._wrong()):
            # A writer's clock may have been far off: before anything is called lost, look through what is older.
            self._read_outputs(outputs, from_ms=None, before=starts)
        return self._conclude()

    def _wrong(self) -> Iterator[Finding]:
        """Yield the findings, but for what may only not be worked off yet."""
        for each in self._ledger.findings():
            if each.what in ("doubled", "no-raw-record") or not self._in_flight(each):
                yield each

    def _in_flight(self, finding: Finding) -> bool:
        return finding.offset >= self._committed.get(finding.partition, 0)

    def _read_raw(self) -> None:
        bounds = self._log.bounds([self._names.raw])
        for record in self._records([self._names.raw], from_ms=self._from_ms):
            inside = self._inside(record)
            self._ledger.raw_record(record.partition, record.offset, inside=inside)
            first, _ = bounds[record.topic, record.partition]
            if record.offset == first > 0 and (self._from_ms is None or self._from_ms < record.timestamp_ms):
                self._notes.append(
                    f"raw partition {record.partition} begins at offset {first}, {_time(record.timestamp_ms)}: what was"
                    " before is removed and not audited"
                )
        if gaps := self._ledger.gaps():
            self._notes.append(
                f"{gaps} offsets of the raw topic hold no record: marks or aborted records of transactional writers,"
                " or removed"
            )

    def _inside(self, record: LogRecord) -> bool:
        since = self._from_ms is None or record.timestamp_ms >= self._from_ms
        return since and (self._until_ms is None or record.timestamp_ms < self._until_ms)

    def _read_outputs(
        self, topics: list[str], *, from_ms: int | None, before: Mapping[TopicPartition, int] | None = None
    ) -> dict[TopicPartition, int]:
        """Enter the outputs, those *before* offsets that were read already; return where each partition began."""
        starts: dict[TopicPartition, int] = {place: end for place, (_, end) in self._log.bounds(topics).items()}
        for record in self._records(topics, from_ms=from_ms):
            place = (record.topic, record.partition)
            if before is not None and record.offset >= before.get(place, 0):
                continue
            starts[place] = min(starts.get(place, record.offset), record.offset)
            self._enter(record)
        return starts

    def _enter(self, record: LogRecord) -> None:
        headers, topic, ledger = record.headers, record.topic, self._ledger
        raw = wire.raw_coordinates(headers)
        if raw is None or raw.topic != self._names.raw:
            self._strangers += 1
        elif wire.header(headers, "reprocessed") is not None:
            ledger.replay(raw.partition, raw.offset, topic)
        elif topic == self._names.enriched:
            told = wire.header(headers, "routes")
            routes = None if told is None else [self._topic_of(name) for name in told.split(",") if name]
            known = None if routes is None else [route for route in routes if route]
            ledger.end(raw.partition, raw.offset, topic, enriched=True, routes=known)
        elif topic in self._end_topics:
            ledger.end(raw.partition, raw.offset, topic)
        elif wire.header(headers, "kind") != "unrouted":
            ledger.copy(raw.partition, raw.offset, topic)

    def _topic_of(self, route: str) -> str | None:
        topic = self._routes.get(route)
        if topic is None:
            self._unknown_routes.add(route)
        return topic

    def _conclude(self) -> Report:
        ledger, names = self._ledger, self._names
        if any(self._wrong()):
            self._excuse_the_old()
        found = Counter[str]()
        named: list[tuple[Finding, Problem]] = []
        for each in self._wrong():
            what = "lost" if each.what == "missing" else each.what
            found[what] += 1
            if what != "unprovable" and len(named) < self._limit:
                place = f"{names.raw}/{each.partition}/{each.offset}"
                named.append((each, Problem(f"{what} {each.topic.removeprefix(names.prefix)}".strip(), place)))
        found["in-flight"] = sum(each.what == "missing" and self._in_flight(each) for each in ledger.findings())
        self._look_up(named)
        if self._strangers:
            self._notes.append(f"{self._strangers} output records do not name a record of {names.raw}: other writers")
        if self._unknown_routes:
            self._notes.append(f"routes that the rules no longer hold: {', '.join(sorted(self._unknown_routes))}")
        counts = {"raw": ledger.raw}
        counts |= {topic.removeprefix(names.prefix): ledger.ends[topic] for topic in self._end_topics}
        counts |= {f"copies {topic.removeprefix(names.prefix)}": ledger.copies[topic] for topic in self._route_topics}
        counts |= {"replayed": sum(ledger.replayed.values())}
        counts |= {what: found[what] for what in ("in-flight", "unprovable", *_BAD)}
        problems = [problem for _, problem in named]
        return Report(counts, self._notes, problems, not any(found[what] for what in _BAD))

    def _excuse_the_old(self) -> None:
        """Note of which raw records the ends may have been removed."""
        provable_ms = self._provable_from()
        old = 0
        for record in self._records([self._names.raw], from_ms=self._from_ms):
            if record.timestamp_ms < provable_ms:
                self._ledger.old(record.partition, record.offset)
                old += 1
        if old:
            self._notes.append(
                f"outputs of before {_time(provable_ms)} may have been removed by retention or compaction: raw records"
                " of that time without an end prove nothing"
            )

    def _provable_from(self) -> int:
        """Return the time from which on no output can have been removed."""
        removed = [self._compacted_before_ms]
        kept = [topic for topic in (self._names.duplicates, self._names.dead_letter) if topic in self._end_topics]
        for place, (first, end) in self._log.bounds(kept).items() if kept else ():
            if first > 0:
                oldest = next(iter(records_between(self._log, place, first, end)), None)
                removed.append(int(time.time() * 1000) if oldest is None else oldest.timestamp_ms)
        return max(removed)

    def _look_up(self, named: list[tuple[Finding, Problem]]) -> None:
        """Note the times of the raw records that are named, and where their ends and copies lie."""
        wanted: dict[tuple[int, int], list[Problem]] = {}
        for each, problem in named:
            wanted.setdefault((each.partition, each.offset), []).append(problem)
        if not wanted:
            return
        for record in self._records([self._names.raw], from_ms=self._from_ms):
            for problem in wanted.get((record.partition, record.offset), ()):
                problem.time = _time(record.timestamp_ms)
        for record in self._records([*self._end_topics, *self._route_topics], from_ms=None):
            raw = wire.raw_coordinates(record.headers)
            if raw is not None and raw.topic == self._names.raw:
                for problem in wanted.get((raw.partition, raw.offset), ()):
                    problem.ends.append(str(record.coordinates))

    def _records(self, topics: list[str], *, from_ms: int | None) -> Iterator[LogRecord]:
        """Yield what *topics* hold up to now, and say how far the audit is."""
        reader = self._log.reader(topics, from_ms=from_ms)
        try:
            while True:
                records = reader.read(timeout_s=1.0, max_records=2000)
                yield from records
                self._read += len(records)
                if self._read % _EVERY < len(records):
                    self._shown.show(self._read)
                if reader.at_end():  # more may have come meanwhile: on a busy topic there would be no end
                    return
        finally:
            reader.close()


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
