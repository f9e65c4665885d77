"""
Brings a lost seen store back: one worker rebuilds it of what was published, the others wait, and all join it again.

A verdict of the lost store may still be on its way to the log in another worker. So every worker that has noticed the
loss and has nothing under way says so for the partitions that it owns; only when that is said of all partitions, and
no transaction on the outputs is open, what is published is all there is. An owner that is gone needs not say it: who
owns its partitions after it does, and the log refuses commits of the earlier one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta

from worker import wire
from worker.enriching import Clock, EnricherEvents, TopicNames
from worker.ports import Log, LogRecord, SeenStore, TopicPartition
from worker.records import Published, VerdictKind

LEASE_S = 15.0
"""A rebuilder that shows no sign of life for so long is followed by another one, which begins anew."""
SLICE_S = 1.0
"""How long one step may work; the worker shows signs of life between two."""
PAUSE_S = 0.3
MAX_RECORDS = 500
REPEATABLE = timedelta(hours=1)
"""Verdicts younger than this are kept by raw record, should the group be set back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildSettings:
    """Whose store it is."""

    group: str
    identity: str
    topics: TopicNames
    remembered: timedelta
    """Stories older than this are forgotten anyway: the seen store's time to live."""


class Rebuilding:
    """What a worker does until it has joined the seen store; `step` again and again."""

    def __init__(
        self, *, log: Log, seen: SeenStore, clock: Clock, events: EnricherEvents, settings: RebuildSettings
    ) -> None:
        self._log = log
        self._seen = seen
        self._clock = clock
        self._events = events
        self._settings = settings
        self._epoch: str | None = None
        self._holder = ""
        self._work: Iterator[str] | None = None

    def lost(self) -> bool:
        """Ask whether the store is not (any more) the one that was joined. Raises: SeenStoreAway."""
        return self._epoch is None or self._seen.epoch() != self._epoch

    def step(self, owned: frozenset[TopicPartition]) -> str | None:
        """
        Do a little; return why the worker must wait on, None when it has joined the store.

        To be called with nothing under way on the partitions *owned*. Raises: SeenStoreAway, LogUnavailable and others.
        """
        epoch = self._seen.epoch()
        if epoch is None and self._epoch is None and not self._worked_before():
            epoch = self._seen.start_epoch(uuid.uuid4().hex)
        if epoch is not None:
            self._stop_work()
            self._seen.join(epoch)
            self._epoch = epoch
            return None
        try:
            return self._bring_back(owned)
        except BaseException:
            self._stop_work()
            raise

    def _worked_before(self) -> bool:
        """Tell whether the group ever committed; one that was set back to the beginning did."""
        return bool(self._log.committed(self._settings.group, [self._settings.topics.raw]))

    def _bring_back(self, owned: frozenset[TopicPartition]) -> str | None:
        raw = self._settings.topics.raw
        still = self._seen.stand_still(owned)
        moving = [number for number in range(self._log.topics()[raw]) if (raw, number) not in still]
        if self._work is None:
            # A holder of its own for each attempt: what an earlier one restored counts for nothing after a second loss.
            self._holder = f"{self._settings.identity}/{uuid.uuid4().hex}"
            if moving:
                return self._pause(f"it was lost; waiting for the owners of {len(moving)} partitions of {raw}")
            if not self._seen.lease(self._holder, seconds=LEASE_S):
                return self._pause("it was lost; another worker rebuilds it")
            self._work = self._rebuild()
        until = self._clock.monotonic() + SLICE_S
        for reason in self._work:
            if self._clock.monotonic() >= until:
                return reason
        epoch = uuid.uuid4().hex
        self._seen.finish(self._holder, epoch)
        self._epoch = epoch
        self._stop_work()
        return None

    def _rebuild(self) -> Iterator[str]:
        """Do the work in small portions; yield after each what is going on."""
        names = self._settings.topics
        self._events.rebuilding(0)
        while not self._seen.clear(self._holder, seconds=LEASE_S):
            yield "it was lost; clearing what is left of it"
        outputs = [names.enriched, names.duplicates]
        written = {place: end for place, (_, end) in self._log.bounds(outputs).items()}
        while any(end < written.get(place, 0) for place, (_, end) in self._log.bounds(outputs, settled=True).items()):
            self._seen.restore((), holder=self._holder, seconds=LEASE_S, now=self._clock.now())
            yield self._pause("it was lost; waiting for open transactions to end")
        committed = self._log.committed(self._settings.group, [names.raw])
        since = self._clock.now() - self._settings.remembered
        count = 0
        for topic in outputs:  # in this order: see worker/recall.py
            with closing(self._log.reader([topic], from_ms=int(since.timestamp() * 1000))) as reader:
                while not reader.at_end():
                    records = reader.read(timeout_s=0.2, max_records=MAX_RECORDS)
                    published = [item for record in records if (item := self._published(record, committed))]
                    self._seen.restore(published, holder=self._holder, seconds=LEASE_S, now=self._clock.now())
                    count += len(published)
                    self._events.rebuilding(len(published))
                    yield f"it was lost; rebuilding it, {count} verdicts restored"

    def _published(self, record: LogRecord, committed: Mapping[TopicPartition, int]) -> Published | None:
        """Return what *record* tells; None for what this store never judged, or what says nothing of its verdict."""
        item = wire.decode_published(record)
        if item is None or item.fingerprint.raw.topic != self._settings.topics.raw:
            return None
        if wire.header(record.headers, "reprocessed") is not None:
            # A replay judged with a memory of its own; but a version that it sent was sent.
            return replace(item, routes=None) if item.verdict.kind in (VerdictKind.NEW, VerdictKind.UPDATE) else None
        raw = item.fingerprint.raw
        ahead = raw.offset >= committed.get((raw.topic, raw.partition), 0)
        return replace(item, may_come_again=ahead or item.at > self._clock.now() - REPEATABLE)

    def _pause(self, reason: str) -> str:
        self._clock.sleep(PAUSE_S)
        return reason

    def _stop_work(self) -> None:
        if self._work is not None:
            self._work = None
            self._events.rebuilding(None)
