"""Three accounts of one run with kills, which know nothing of each other: the metrics, the audit, the topics."""

from __future__ import annotations

import json
import signal
import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.make import raw_article, raw_record
from tests.support.installation import Installation
from tests.support.services import free_ports
from tests.support.waiting import until
from worker.ports import NewRecord

RECORDS = 1_500


def metrics(port: int) -> dict[str, float]:
    """Return the sum of each metric over its labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0) + sample.value
    return sums


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_after_kills_the_books_of_the_worker_and_of_the_audit_close(installation: Installation) -> None:
    assert installation.run("topics", "apply").returncode == 0
    raw, (port,) = installation.topics.raw, free_ports(1)
    made = [raw_record(raw_article(f"n{n}", summary=f"<p>Report {n} on wells.</p>"), topic=raw) for n in range(RECORDS)]
    made[::25] = [NewRecord(topic=raw, key=each.key, value=b"\xff") for each in made[::25]]
    with installation.log() as log:
        appender = log.appender()
        appender.append(made)
        appender.close()
    installation.environ |= {"DATELINE_HTTP_PORT": str(port), "DATELINE_WORKER_BATCH_MAX": "20"}
    for _ in range(2):
        worker = installation.start("enrich")
        time.sleep(3)
        worker.send_signal(signal.SIGKILL)
        worker.wait()

    worker = installation.start("enrich")
    last = NewRecord(topic=raw, key=b"last", value=b"\xff")
    until(lambda: audit(installation)["counts"]["in-flight"] == 0, within_s=120, what="all worked off")
    with installation.log() as log:
        appender = log.appender()
        appender.append([last])
        appender.close()
    until(lambda: audit(installation)["counts"]["raw"] == RECORDS + 1, within_s=30, what="the last one read")
    until(lambda: audit(installation)["counts"]["in-flight"] == 0, within_s=60, what="the last one worked off")
    said, told = audit(installation), metrics(port)
    worker.send_signal(signal.SIGTERM)

    assert worker.wait(timeout=60) == 0
    assert said["accounted"]
    assert sum(said["counts"][name] for name in ("enriched", "duplicates", "dead-letter")) == RECORDS + 1
    assert told["dateline_unaccounted_records_total"] == 0
    assert told.get("dateline_offsets_skipped_total", 0) == 0
    assert told["dateline_records_total"] >= 1


def audit(installation: Installation) -> dict[str, dict[str, int]]:
    answer: dict[str, dict[str, int]] = json.loads(installation.run("audit", "--json").stdout)
    return answer
