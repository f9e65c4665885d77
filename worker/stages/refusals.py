"""
Are too many records of a partition refused? Then the fault is more likely ours than the input's.

Counted by offsets of the input, so that the answer depends on the partition alone: not on where batches end, nor on
which process reads it, nor on when that was started.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many records of one partition may be refused."""

    run: int = 500
    """In a row."""
    share: float = 0.5
    """Of the window; refusals are counted against the whole window, so a few of a quiet stream are never too many."""
    window: int = 1000
    """The last so many offsets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """What is known of one partition, from the offset *since* up to before the offset *next*."""

    since: int
    next: int
    run: int = 0
    """Refused in a row, up to now."""
    refused: tuple[int, ...] = field(default=())
    """Offsets of the refused in the window, oldest first."""

    def share(self, limits: Limits) -> float:
        """Return how much of the window was refused."""
        return len(self.refused) / limits.window


def follow(known: Refusals, records: Iterable[tuple[int, bool]], limits: Limits) -> tuple[Refusals, str | None]:
    """
    Return what is known after *records* (offset, whether refused; in order), and the first limit that they exceed.

    In words, for people; None when they keep within both.
    """
    run, refused, end = known.run, list(known.refused), known.next
    oldest = 0
    excess: str | None = None
    for offset, is_refused in records:
        end = offset + 1
        if not is_refused:
            run = 0
            continue
        run += 1
        refused.append(offset)
        oldest = bisect_left(refused, end - limits.window, lo=oldest)
        count = len(refused) - oldest
        if excess is None and run > limits.run:
            excess = f"{run} records in a row were refused (limit {limits.run})"
        if excess is None and count > limits.share * limits.window:
            excess = f"{count} of the last {limits.window} records were refused (limit {limits.share:.0%})"
    oldest = bisect_left(refused, end - limits.window, lo=oldest)
    return Refusals(since=known.since, next=end, run=run, refused=tuple(refused[oldest:])), excess
