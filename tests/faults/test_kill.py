"""kill -9 at any moment: started again, every raw record has exactly one end."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter

import pytest

from tests.faults.usage import unready
from tests.make import raw_article, raw_record
from tests.support.installation import Installation
from tests.support.services import lasting_port
from tests.support.waiting import until
from worker import wire
from worker.ports import NewRecord

RECORDS = 3_000
KILLS = 6


def ends(installation: Installation) -> list[str]:
    """Return the raw coordinates named by each enriched record, duplicate and dead letter."""
    names = installation.topics
    records = installation.read([names.enriched, names.duplicates, names.dead_letter])
    return [str(wire.raw_coordinates(record.headers)) for record in records]


@pytest.mark.timeout(180)
def test_a_worker_killed_again_and_again_gives_every_record_one_end(installation: Installation) -> None:
    """Each fifth record copies an earlier text, each fiftieth is no JSON: all three kinds of end are there."""
    assert installation.run("topics", "apply").returncode == 0
    raw = installation.topics.raw
    with installation.log() as log:
        appender = log.appender()
        for start in range(0, RECORDS, 500):
            appender.append([record(number, raw) for number in range(start, start + 500)])
        appender.close()
    chance = random.Random(7)
    for _ in range(KILLS):
        worker = installation.start("enrich")
        time.sleep(chance.uniform(1.5, 4.0))
        worker.send_signal(signal.SIGKILL)
        worker.wait()

    port = lasting_port()
    worker = installation.start("enrich", "--http-port", str(port))
    deadline = time.monotonic() + 90
    while len(said := ends(installation)) < RECORDS and time.monotonic() < deadline:
        time.sleep(0.5)
    # When those before it have done all the work, it may not be able to listen yet.
    until(lambda: not unready("127.0.0.1", port), within_s=30)
    worker.send_signal(signal.SIGTERM)

    assert worker.wait(timeout=30) == 0
    assert [place for place, count in Counter(said).items() if count > 1] == []
    assert len(said) == RECORDS
    kinds = Counter(wire.header(item.headers, "kind") for item in installation.read([installation.topics.enriched]))
    assert kinds["new"] == len({text_of(number) for number in range(RECORDS) if number % 50 != 49})


def text_of(number: int) -> int:
    """Return which text record *number* has: each fifth repeats that of the one before."""
    return number - 1 if number % 5 == 4 else number


def record(number: int, topic: str) -> NewRecord:
    text = (
        f"<p>Delegation {text_of(number)} of the northern districts met its neighbours on Tuesday to discuss water.</p>"
    )
    made = raw_record(raw_article(f"n{number}", title=f"Talks number {text_of(number)}", summary=text), topic=topic)
    if number % 50 == 49:
        return NewRecord(topic=topic, key=made.key, value=b"\xff not JSON")
    return made
