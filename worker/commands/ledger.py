"""
The books of an audit: for each raw record of a span of time, which ends name it.

One byte for each offset of the span, and one more for each topic of a route: a million raw records and three routes
take 4 MB. It knows nothing of how the workers count; both read the header `raw`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

HERE, OUTSIDE, END, MORE, ENRICHED, TOLD, OLD = 1, 2, 4, 8, 16, 32, 64
"""Marks of a raw record: in the span; there, but of another time; has an end; has several; one is enriched; that one
names its routes; so old that what it became may be gone."""
WANTED, SEEN, SEEN_MORE = 1, 2, 4
"""Marks of a raw record for one route: its enriched record names the route; a copy is there; several are."""


@dataclass(slots=True)
class _Partition:
    first: int
    marks: bytearray = field(default_factory=bytearray)
    routes: dict[str, bytearray] = field(default_factory=dict)

    def route(self, topic: str) -> bytearray:
        marks = self.routes.get(topic)
        if marks is None:
            marks = self.routes[topic] = bytearray(len(self.marks))
        return marks


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Finding:
    """A raw record that the books do not close on."""

    partition: int
    offset: int
    what: str
    """`missing`, `doubled`, `no-raw-record`, `copy-missing`, `copy-doubled`, `copy-without-enriched`; `unprovable`."""
    topic: str = ""
    """Of the route, for those of copies."""


class Ledger:
    """Tell it first the raw records, then the ends and the routes' copies, then ask for what is wrong."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}
        self.raw = 0
        """Raw records in the span."""
        self.ends: Counter[str] = Counter()
        """Ends of raw records in the span, by topic; a replay's are not among them."""
        self.replayed: Counter[str] = Counter()
        """Ends that a replay made for raw records in the span, by topic."""
        self.copies: Counter[str] = Counter()
        """Copies for raw records in the span, by the route's topic."""
        self.others = 0
        """Ends and copies of raw records outside the span."""

    def raw_record(self, partition: int, offset: int, *, inside: bool) -> None:
        """Note a raw record; in order within its partition."""
        book = self._partitions.get(partition)
        if book is None:
            book = self._partitions[partition] = _Partition(offset)
        marks = book.marks
        marks.extend(bytes(offset - book.first - len(marks)))
        marks.append(HERE if inside else OUTSIDE)
        self.raw += inside

    def end(
        self, partition: int, offset: int, topic: str, *, enriched: bool = False, routes: Iterable[str] | None = None
    ) -> None:
        """Note an end; *routes*: topics that its copies must stand on, None when it does not say."""
        found = self._at(partition, offset)
        if found is None:
            return
        book, at = found
        mark = book.marks[at]
        if not mark & OUTSIDE:
            self.ends[topic] += 1
        mark |= MORE if mark & END else END
        if enriched:
            mark |= ENRICHED
            if routes is not None:
                mark |= TOLD
                for route in routes:
                    book.route(route)[at] |= WANTED
        book.marks[at] = mark

    def replay(self, partition: int, offset: int, topic: str) -> None:
        """Note a further end that a replay made."""
        if self._at(partition, offset) is not None:
            self.replayed[topic] += 1

    def copy(self, partition: int, offset: int, topic: str) -> None:
        """Note a copy on a route's topic."""
        found = self._at(partition, offset)
        if found is None:
            return
        book, at = found
        marks = book.route(topic)
        marks[at] |= SEEN_MORE if marks[at] & SEEN else SEEN
        if not book.marks[at] & OUTSIDE:
            self.copies[topic] += 1

    def old(self, partition: int, offset: int) -> None:
        """Note that what this raw record became may have been removed: its absence proves nothing."""
        book = self._partitions.get(partition)
        if book is not None and 0 <= offset - book.first < len(book.marks):
            book.marks[offset - book.first] |= OLD

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong."""
        for partition, book in sorted(self._partitions.items()):
            for at, mark in enumerate(book.marks):
                # The good cases, without a further look: no record at this offset, one of another time, one end.
                if mark in (0, OUTSIDE) or mark & (HERE | END | MORE) == HERE | END:
                    continue
                offset = book.first + at
                if mark & END and not mark & (HERE | OUTSIDE):
                    yield Finding(partition=partition, offset=offset, what="no-raw-record")
                elif mark & HERE and mark & MORE:
                    yield Finding(partition=partition, offset=offset, what="doubled")
                elif mark & HERE and not mark & END:
                    what = "unprovable" if mark & OLD else "missing"
                    yield Finding(partition=partition, offset=offset, what=what)
            for topic, copies in sorted(book.routes.items()):
                for at, copy in enumerate(copies):
                    if copy and book.marks[at] & HERE and (wrong := _wrong_copy(copy, book.marks[at])):
                        yield Finding(partition=partition, offset=book.first + at, what=wrong, topic=topic)

    def gaps(self) -> int:
        """Return how many offsets between the first and the last raw record hold none."""
        return sum(book.marks.count(0) for book in self._partitions.values())

    def _at(self, partition: int, offset: int) -> tuple[_Partition, int] | None:
        book = self._partitions.get(partition)
        if book is None or not 0 <= offset - book.first < len(book.marks):
            self.others += 1
            return None
        return book, offset - book.first


def _wrong_copy(copy: int, mark: int) -> str | None:
    if copy & SEEN_MORE:
        return "copy-doubled"
    if copy & WANTED and not copy & SEEN:
        return "unprovable" if mark & OLD else "copy-missing"
    if copy & SEEN and not mark & ENRICHED:
        return "unprovable" if mark & OLD else "copy-without-enriched"
    if copy & SEEN and mark & TOLD and not copy & WANTED:
        return "copy-without-enriched"
    return None
