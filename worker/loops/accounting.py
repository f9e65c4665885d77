"""
Keeps the books of a member: what each transaction was really given, against the raw records that it was made of.

It looks at the records of the transaction, not at what the stages counted: a record that the code between dropped or
doubled is seen here. What is wrong is told, with coordinates; the commit is not held up.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from worker.loops.member_forwarding import ForwardingMember
from worker.ports import Batch, LogUnavailable, Member, NewRecord, TopicPartition
from worker.ports import LogRecord as Raw


class Books(Protocol):
    """Who wants to know whether the books close."""

    def accounted(self, unaccounted: Sequence[str], skipped: Mapping[TopicPartition, int]) -> None:
        """
        A transaction is through.

        *unaccounted*: raw coordinates without an end in it, with several, or named without being in it; *skipped*:
        offsets that were passed without a record, in the partitions where there were any.
        """


class AccountedMember(ForwardingMember):
    """Stands before another member and tells what its commits did not account for."""

    def __init__(
        self,
        member: Member,
        *,
        ends: Collection[str],
        committed: Callable[[], Mapping[TopicPartition, int]],
        books: Books,
    ) -> None:
        """*ends*: topics on which raw records end; *committed*: asks for the group's offsets, when they are needed."""
        super().__init__(member)
        self._ends = frozenset(ends)
        self._ask = committed
        self._books = books
        self._next: dict[TopicPartition, int] = {}
        """By partition the offset behind our last commit."""

    def commit(self, batch: Batch, outputs: Sequence[NewRecord]) -> None:
        """Commit, then tell what the transaction did not account for. Raises: as the member that it stands before."""
        skipped, after = self._skipped(batch.records)
        self._member.commit(batch, outputs)
        self._next.update(after)
        due = [record for record in batch.records if not batch.went_out(record)]
        self._books.accounted(unaccounted(due, outputs, self._ends), skipped)

    def _skipped(self, records: Sequence[Raw]) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        """Return how many offsets this commit passes without a record, and where it ends, by partition."""
        first: dict[TopicPartition, int] = {}
        after: dict[TopicPartition, int] = {}
        counts: Counter[TopicPartition] = Counter()
        for record in records:
            place = (record.topic, record.partition)
            first.setdefault(place, record.offset)
            after[place] = record.offset + 1
            counts[place] += 1
        start = dict(first)
        if any(self._next.get(place) != offset for place, offset in first.items()):
            # A partition is new here, or goes on elsewhere than behind our last commit: another member may have worked
            # on it, or what lay between is gone. The group's offset tells the two apart.
            with contextlib.suppress(LogUnavailable):
                start |= {place: offset for place, offset in self._ask().items() if place in first}
        skipped = {place: end - start[place] - counts[place] for place, end in after.items()}
        return {place: count for place, count in skipped.items() if count > 0}, after


def unaccounted(records: Iterable[Raw], outputs: Iterable[NewRecord], ends: Collection[str]) -> list[str]:
    """Return the raw coordinates that do not have exactly one end among *outputs*."""
    open_ = {f"{record.topic}/{record.partition}/{record.offset}".encode() for record in records}
    wrong = []
    for output in outputs:
        if output.topic in ends:
            raw = next((value for name, value in output.headers if name == "raw"), b"?")
            if raw in open_:
                open_.remove(raw)
            else:  # its second end, or of no record of this batch
                wrong.append(raw)
    return sorted(raw.decode("utf-8", "replace") for raw in (*wrong, *open_))
