"""What the enricher says to its clock and listeners, and how its topics are called: values and Protocols."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from worker.ports import LogRecord, TopicPartition
from worker.records import Article, Enriched, Fingerprint, Verdict

STAGES = ("decode", "extract", "fingerprint", "judge", "tag", "route", "encode", "commit")
"""Label values of the stage times, in the order of work."""

NEWER_RECORD = "a record of a newer release"
"""How the reason begins while a record of a newer major holds its partition back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicNames:
    """The topics of one installation: a prefix and fixed names."""

    prefix: str = "news."

    @property
    def raw(self) -> str:
        return f"{self.prefix}raw"

    @property
    def feed_state(self) -> str:
        return f"{self.prefix}feed-state"

    @property
    def enriched(self) -> str:
        return f"{self.prefix}enriched"

    @property
    def duplicates(self) -> str:
        return f"{self.prefix}duplicates"

    @property
    def dead_letter(self) -> str:
        return f"{self.prefix}dead-letter"

    def route(self, name: str) -> str:
        """Return the topic of the route called *name*."""
        return self.prefix + name


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A raw record on its way through a batch."""

    record: LogRecord
    article: Article
    fingerprint: Fingerprint
    verdict: Verdict


class Clock(Protocol):
    """The time, twice: the one that people read and the one that never jumps."""

    def now(self) -> datetime:
        """Return the present time in UTC."""

    def monotonic(self) -> float:
        """Return seconds since some moment; for durations only."""

    def sleep(self, seconds: float) -> None:
        """Wait; may return early when the process is asked to stop."""


class EnricherEvents(Protocol):
    """Who wants to know what the enricher does; called after the commit, so nothing is told twice."""

    def beat(self) -> None:
        """The loop is alive."""

    def polled(self, owned: Collection[TopicPartition], lag: Mapping[TopicPartition, int]) -> None:
        """These partitions are ours now, and so many records wait in each, whether or not they can be worked off."""

    def enriched(self, story: Enriched, routes: Sequence[str], left: Sequence[str]) -> None:
        """A story went out, on *routes*; it left the routes *left*."""

    def duplicate(self, judged: Judged) -> None:
        """A record said nothing new."""

    def rejected(self, reason: str) -> None:
        """A record went to the dead letters."""

    def refusals(self, run: int, share: float) -> None:
        """So many records in a row, and such a share of the last ones, were refused in the worst partition."""

    def stage(self, name: str, seconds: float, records: int) -> None:
        """A stage of a batch took so long for so many records."""

    def committed(self, records: int, lag: Mapping[TopicPartition, int]) -> None:
        """A transaction is through."""

    def aborted(self, reason: str) -> None:
        """A transaction failed and its records will come again."""

    def waiting(self, reason: str | None) -> None:
        """The worker cannot go on because of *reason* (not ready); None: it can again."""

    def rebuilding(self, restored: int | None) -> None:
        """This worker rebuilds the seen store, and so many verdicts more are back; None: it does so no longer."""


class SilentEvents:
    """Listens and says nothing."""

    def beat(self) -> None: ...

    def polled(self, owned: Collection[TopicPartition], lag: Mapping[TopicPartition, int]) -> None: ...

    def enriched(self, story: Enriched, routes: Sequence[str], left: Sequence[str]) -> None: ...

    def duplicate(self, judged: Judged) -> None: ...

    def rejected(self, reason: str) -> None: ...

    def refusals(self, run: int, share: float) -> None: ...

    def stage(self, name: str, seconds: float, records: int) -> None: ...

    def committed(self, records: int, lag: Mapping[TopicPartition, int]) -> None: ...

    def aborted(self, reason: str) -> None: ...

    def waiting(self, reason: str | None) -> None: ...

    def rebuilding(self, restored: int | None) -> None: ...
