"""A record of a newer major holds its partition back until a worker of that major comes; the others go on."""

from __future__ import annotations

import re
import urllib.request
from collections import Counter
from dataclasses import replace

import pytest

from tests.faults.test_embedded import asked, blocked
from tests.faults.test_kill import ends
from tests.make import raw_article, raw_record
from tests.support.installation import Installation
from tests.support.services import free_ports
from tests.support.waiting import until
from worker.ports import NewRecord

pytestmark = pytest.mark.timeout(240)
RECORDS, NEWER = 60, 20


def record(number: int, topic: str) -> NewRecord:
    text = f"<p>Delegation {number} of the northern districts met its neighbours on Tuesday to discuss water.</p>"
    made = raw_record(raw_article(f"n{number}", title=f"Talks number {number}", summary=text), topic=topic)
    if number == NEWER:
        return replace(made, headers=tuple((name, value.replace(b".v1", b".v2")) for name, value in made.headers))
    return made


@pytest.mark.faults
def test_a_newer_record_waits_and_the_other_partitions_go_on(installation: Installation) -> None:
    assert installation.run("topics", "apply").returncode == 0
    raw = installation.topics.raw
    with installation.log() as log:
        appender = log.appender()
        appender.append([record(number, raw) for number in range(RECORDS)])
        appender.close()
    read = installation.read([raw])
    (newer,) = (each for each in read if each.key == record(NEWER, raw).key)
    place = (newer.partition, newer.offset)
    readable = {str(each.coordinates) for each in read if each.partition != place[0] or each.offset < place[1]}
    port, later_port = free_ports(2)
    worker = installation.start("enrich", "--http-port", str(port))
    try:
        until(lambda: set(ends(installation)) >= readable, within_s=60, what="all that this release can read")
        until(blocked(port, r"newer release \(dateline\.news\.item\.discovered\.v2\)"), within_s=30)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert re.search(rb"^dateline_newer_record_waiting 1", answer.read(), re.MULTILINE)
        assert asked(port, "/livez")[0] == 200
        assert worker.poll() is None
        with installation.log() as log:  # the other partitions go on
            appender = log.appender()
            others = [record(number, raw) for number in range(RECORDS, 2 * RECORDS)]
            appender.append(others)
            appender.close()
        read = installation.read([raw])
        readable = {str(each.coordinates) for each in read if each.partition != place[0] or each.offset < place[1]}
        until(lambda: set(ends(installation)) >= readable, within_s=30, what="what came later, elsewhere")
        assert Counter(ends(installation)) == Counter(readable)
    finally:
        worker.terminate()
        assert worker.wait(timeout=30) == 0

    later = installation.start("enrich", "--http-port", str(later_port), module="tests.faults.newer_major")
    try:
        until(lambda: len(ends(installation)) >= 2 * RECORDS, within_s=60, what="an end of every record")
        until(lambda: asked(later_port)[0] == 200, what="ready")
    finally:
        later.terminate()
        assert later.wait(timeout=30) == 0
    assert Counter(ends(installation)) == Counter(str(each.coordinates) for each in read)
