"""The whole worker as a role of the benchmark's child process."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from tests.bench.parts import MAX_RECORDS, WARM_UP, Stand, cpu_s, figures, join
from worker.edges.language_model import classify
from worker.edges.taxonomy import load_taxonomy
from worker.enriching import Judged
from worker.loops.enricher import Enricher, EnricherSettings
from worker.ports import TopicPartition
from worker.records import Enriched
from worker.stages.language import detect


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Tally:
    """Listens to the enricher: counts ends, adds up the time of each stage."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.records = 0
        self.counts: dict[str, int] = defaultdict(int)
        self.stages: dict[str, float] = defaultdict(float)

    def beat(self) -> None:
        """Nobody watches here."""

    def polled(self, owned: Collection[TopicPartition], lag: Mapping[TopicPartition, int]) -> None: ...

    def enriched(self, story: Enriched, routes: Sequence[str], left: Sequence[str]) -> None:
        self.counts[story.verdict.kind] += 1
        self.counts["routed"] += bool(routes)
        self.counts["left"] += len(left)

    def duplicate(self, judged: Judged) -> None:
        self.counts[judged.verdict.kind] += 1

    def rejected(self, reason: str) -> None:
        self.counts[f"rejected: {reason}"] += 1

    def refusals(self, run: int, share: float) -> None: ...

    def stage(self, name: str, seconds: float, records: int) -> None:
        del records
        self.stages[name] += seconds

    def committed(self, records: int, lag: Mapping[TopicPartition, int]) -> None:
        del lag
        self.records += records

    def aborted(self, reason: str) -> None:
        self.counts[f"aborted: {reason}"] += 1

    def waiting(self, reason: str | None) -> None:
        if reason:
            self.counts[f"waited: {reason}"] += 1

    def rebuilding(self, restored: int | None) -> None: ...


def enrich(stand: Stand, count: int, *, max_records: int = MAX_RECORDS, warm_up: int = WARM_UP) -> dict[str, object]:
    """Work off *count* raw records with every stage; the clock starts after the first *warm_up*."""
    taxonomy = load_taxonomy(None)
    classify("A worker loads its language model before it joins.")
    log = stand.log()
    member = log.member(group="enrich", identity="bench-enrich-0", topics=[stand.topics.raw])
    tally, seen = Tally(), stand.seen()
    seen.join("bench")
    enricher = Enricher(
        member=member,
        seen=seen,
        taxonomy=taxonomy,
        detect=lambda text, hint: detect(text, hint, classify),
        clock=SystemClock(),
        events=tally,
        settings=EnricherSettings(topics=stand.topics, max_records=max_records),
    )
    join(member)
    print("ready", flush=True)
    while tally.records < warm_up:
        enricher.step(timeout_s=0.5)
    count -= tally.records
    tally.clear()
    wall, cpu = time.perf_counter(), cpu_s()
    while tally.records < count:
        enricher.step(timeout_s=0.5)
    result = figures(tally.records, wall, cpu)
    member.close()
    log.close()
    return {**result, "counts": tally.counts, "stages": tally.stages}
