"""
Stops the worker before a fault of ours drains the input into the dead letters.

Nothing is remembered between processes. What came before the first refusal of a partition is read from the input
again and asked of the code that runs now: so a worker that is started again and again meets its limit again, one with a
bad release meets it at once, and a mended one starts afresh. The last few records are asked first, and where hardly any
of them is refused, none but them: what lies further back does not count then. Why: docs/decisions.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence

from worker.ports import LogRecord, TopicPartition
from worker.records import Rejected
from worker.stages.refusals import Limits, Refusals, follow

Past = Callable[[TopicPartition, int, int], Iterable[LogRecord]]
"""Reads what is left of a partition from one offset to before another. Raises: LogUnavailable."""
GLANCE = 64
"""So many records before the first refusal tell whether all of the window has to be read again."""
Known = Mapping[TopicPartition, Refusals]


class DeadLetterLimit(Exception):
    """So many records were refused that the fault is likely ours: stop before the topic drains (exit 7)."""


def no_past(_place: TopicPartition, _start: int, _stop: int) -> Iterable[LogRecord]:
    """Say of a log that cannot be read again that nothing came before."""
    return ()


class DeadLetterWatch:
    """Counts refusals by partition; `check` before each commit, `keep` after it."""

    def __init__(self, limits: Limits, *, refuses: Callable[[LogRecord], bool], past: Past) -> None:
        """*refuses*: whether the code that runs now would refuse a record."""
        self._limits = limits
        self._refuses = refuses
        self._past = past
        self._known: dict[TopicPartition, Refusals] = {}

    def check(self, records: Sequence[LogRecord], refused: Sequence[tuple[LogRecord, Rejected]]) -> Known:
        """
        Return what `keep` is to remember once *records* are committed.

        Raises: DeadLetterLimit: they must not be; LogUnavailable: what came before cannot be read now.
        """
        after: dict[TopicPartition, Refusals] = {}
        first: dict[TopicPartition, int] = {}
        last: dict[TopicPartition, int] = {}
        for record in records:
            place = (record.topic, record.partition)
            last[place] = record.offset
            first.setdefault(place, record.offset)
        bad: defaultdict[TopicPartition, set[int]] = defaultdict(set)
        for record, _ in refused:
            bad[record.topic, record.partition].add(record.offset)
        for place, offset in last.items():
            if place not in bad:
                # Whatever came before, the run is over; what the window lacks is read when it matters.
                known = self._known.get(place)
                if known is None or known.next != first[place]:
                    known = Refusals(since=first[place], next=first[place])
                after[place], _ = follow(known, [(offset, False)], self._limits)
                continue
            offsets = [record.offset for record in records if (record.topic, record.partition) == place]
            judged = [(offset, offset in bad[place]) for offset in offsets]
            before = self._before(place, first[place], refused=len(bad[place]), judged=len(judged))
            after[place], excess = follow(before, judged, self._limits)
            if excess is not None:
                raise DeadLetterLimit(_told(place, excess, refused))
        return after

    def keep(self, after: Known, *, owned: Container[TopicPartition]) -> tuple[int, float]:
        """Remember what `check` returned; return the longest run and the largest share of all partitions *owned*."""
        self._known = {place: each for place, each in (self._known | dict(after)).items() if place in owned}
        known = self._known.values()
        return (
            max((each.run for each in known), default=0),
            max((each.share(self._limits) for each in known), default=0.0),
        )

    def _before(self, place: TopicPartition, offset: int, *, refused: int, judged: int) -> Refusals:
        """
        Return what is known up to *offset*; from the input itself where this process has not seen enough of it.

        Enough is a glance when little of it is refused, also together with the *judged* records that follow.
        """
        known = self._last(place, offset, GLANCE)
        seen = min(offset - known.since, self._limits.window)
        if self._few(len(known.refused), seen) and self._few(len(known.refused) + refused, seen + judged):
            return known
        return self._last(place, offset, self._limits.window)

    def _few(self, refused: int, seen: int) -> bool:
        """Tell whether no more than half of the share that is allowed was *refused*."""
        return 2 * refused <= self._limits.share * seen

    def _last(self, place: TopicPartition, offset: int, count: int) -> Refusals:
        """Return what is known of the last *count* offsets at least, or of more."""
        known = self._known.get(place)
        start = max(0, offset - count)
        if known is not None and known.next == offset and known.since <= start:
            return known
        past = [(record.offset, self._refuses(record)) for record in self._past(place, start, offset)]
        before, _ = follow(Refusals(since=start, next=start), past, self._limits)
        return Refusals(since=start, next=offset, run=before.run, refused=before.refused)


def _told(place: TopicPartition, excess: str, refused: Sequence[tuple[LogRecord, Rejected]]) -> str:
    reasons = Counter(why.reason for record, why in refused if (record.topic, record.partition) == place)
    topic, partition = place
    return (
        f"dead-letter limit: partition {topic}/{partition}: {excess}, in this batch mostly for"
        f" {reasons.most_common(1)[0][0]}; nothing of this batch was written"
    )
