"""Three accounts of one run with kills, which know nothing of each other: the metrics, the audit, the topics."""

from __future__ import annotations

import json
import signal
import time

import pytest

from tests.make import raw_article, raw_record
from tests.support.installation import Installation
from tests.support.metrics import metric
from tests.support.services import free_ports
from tests.support.waiting import until
from worker.ports import NewRecord

RECORDS = 1_500


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
    said = audit(installation)
    told = {
        name: metric(port, f"dateline_{name}_total") for name in ("unaccounted_records", "offsets_skipped", "records")
    }
    worker.send_signal(signal.SIGTERM)

    assert worker.wait(timeout=60) == 0
    assert said["accounted"]
    assert sum(said["counts"][name] for name in ("enriched", "duplicates", "dead-letter")) == RECORDS + 1
    assert told["unaccounted_records"] == told["offsets_skipped"] == 0
    assert told["records"] >= 1


def audit(installation: Installation) -> dict[str, dict[str, int]]:
    answer: dict[str, dict[str, int]] = json.loads(installation.run("audit", "--json").stdout)
    return answer
