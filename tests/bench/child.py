"""
A process of the benchmark: `python -m tests.bench.child ROLE STAND COUNT`; the last line of its output is JSON.

Roles: `enrich` and `copy` work off COUNT raw records on one core; `pace` appends COUNT at RATE a second.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice

from tests.bench.articles import articles
from tests.bench.parts import COPIED, MAX_RECORDS, WARM_UP, Stand, cpu_s, figures, join, pin
from worker import wire
from worker.ports import NewRecord

RATE = 200
TICK_S = 0.02


def copy(stand: Stand, count: int) -> dict[str, object]:
    """Copy *count* raw records byte by byte in the same transactions; the clock starts after the first WARM_UP."""
    log = stand.log()
    member = log.member(group="copy", identity="bench-copy-0", topics=[stand.topics.raw])
    target = stand.topics.route(COPIED)
    join(member)
    print("ready", flush=True)
    wall, cpu, done, warm = 0.0, 0.0, 0, 0
    while done < count:
        if not warm and done >= WARM_UP:
            wall, cpu, warm = time.perf_counter(), cpu_s(), done
        batch = member.poll(timeout_s=0.5, max_records=MAX_RECORDS)
        if batch.records:
            member.commit(
                batch,
                [
                    NewRecord(topic=target, key=record.key or b"", value=record.value, headers=record.headers)
                    for record in batch.records
                ],
            )
            done += len(batch.records)
    result = figures(done - warm, wall, cpu)
    member.close()
    log.close()
    return result


def pace(stand: Stand, count: int) -> dict[str, object]:
    """Append *count* articles at RATE a second, some in each tick; says how late it ran."""
    log = stand.log()
    appender = log.appender()
    source = articles(count, seed=11)
    start, sent, late = time.perf_counter(), 0, 0.0
    while sent < count:
        due = min(count, int((time.perf_counter() - start) * RATE) + 1)
        late = max(late, (due - sent) / RATE - TICK_S)
        now = datetime.now(UTC)
        records = [wire.raw_record(article, topic=stand.topics.raw, now=now) for article in islice(source, due - sent)]
        if records:
            appender.append(records)
        sent = due
        time.sleep(TICK_S)
    appender.close()
    log.close()
    return {"records": sent, "late_s": late}


def work(role: str) -> Callable[[Stand, int], dict[str, object]]:
    """Return what *role* does."""
    if role == "enrich":
        from tests.bench.enrich import enrich  # its rules take seconds to load: the others need none

        return enrich
    return {"copy": copy, "pace": pace}[role]


def main(role: str, stand: str, count: str) -> None:
    """Do the role and print its figures."""
    place = Stand(**json.loads(stand))
    if role != "pace":
        pin({place.core})
    print(json.dumps(work(role)(place, int(count))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
