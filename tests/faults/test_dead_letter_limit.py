"""A flood of records that cannot be read: the worker stops before it has drained the topic, however often it starts."""

from __future__ import annotations

import signal
from collections import Counter

import pytest

from tests.make import raw_article, raw_record
from tests.support.installation import Installation
from tests.support.waiting import until
from worker import wire
from worker.edges.process import ExitCode
from worker.ports import NewRecord

LIMIT = 50


def give(installation: Installation, records: int, *, bad_every: int) -> None:
    """Append *records*, over all partitions; each *bad_every*-th is no JSON."""
    assert installation.run("topics", "apply").returncode == 0
    raw = installation.topics.raw
    made = []
    for number in range(records):
        record = raw_record(raw_article(f"n{number}", summary=f"<p>Report {number} on wells.</p>"), topic=raw)
        if number % bad_every == 0:
            record = NewRecord(topic=raw, key=record.key, value=b"\xff no JSON %d" % number)
        made.append(record)
    with installation.log() as log:
        appender = log.appender()
        appender.append(made)
        appender.close()


def dead_letters(installation: Installation) -> Counter[int]:
    """Return how many dead letters there are by partition of the raw record."""
    found = installation.read([installation.topics.dead_letter])
    places = [wire.raw_coordinates(record.headers) for record in found]
    return Counter(place.partition for place in places if place)


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_all_bad_stops_the_worker_and_no_restart_drains_the_topic(installation: Installation) -> None:
    give(installation, 2_000, bad_every=1)
    environ = {"DATELINE_WORKER_DEAD_LETTER_RUN": str(LIMIT), "DATELINE_WORKER_BATCH_MAX": "30"}
    told = []

    for _ in range(4):
        ran = installation.run("enrich", environ=environ)
        assert ran.returncode == ExitCode.DEAD_LETTERS, ran.stderr.decode()[-2000:]
        told += [line for line in ran.stderr.decode().splitlines() if "dead-letter limit" in line]
        assert max(dead_letters(installation).values(), default=0) <= LIMIT

    assert sum(dead_letters(installation).values()) <= LIMIT * 4
    assert len(told) == 4
    assert all("partition " in line and "not-json" in line for line in told)


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_a_tenth_of_bad_records_stops_nothing(installation: Installation) -> None:
    give(installation, 1_000, bad_every=10)
    installation.environ["DATELINE_WORKER_DEAD_LETTER_RUN"] = str(LIMIT)
    names = installation.topics

    worker = installation.start("enrich")
    topics = [names.enriched, names.duplicates, names.dead_letter]
    until(lambda: len(installation.read(topics)) >= 1_000, within_s=90, what="an end for each record")
    worker.send_signal(signal.SIGTERM)

    assert worker.wait(timeout=60) == ExitCode.OK
    assert sum(dead_letters(installation).values()) == 100
