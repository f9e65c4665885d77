"""Dead letters sent again: by whatever retries, each record becomes at most one story, and says where it comes from."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterable

import pytest

from tests.make import raw_article, raw_record
from tests.support.installation import Installation
from tests.support.waiting import until
from worker import wire
from worker.edges.process import ExitCode
from worker.ports import LogRecord, NewRecord
from worker.records import RawArticle

ODD = 8
FAULTY = "tests.faults.faulty_release"


def article(number: int, text: str = "met its neighbours on Tuesday to discuss the water of the wells") -> RawArticle:
    title = f"Oddity number {number}" if number < ODD else f"Talks number {number}"
    return raw_article(f"n{number}", title=title, summary=f"<p>Delegation {number} of the districts {text}.</p>")


def give(installation: Installation, records: Iterable[NewRecord]) -> None:
    with installation.log() as log:
        appender = log.appender()
        appender.append(list(records))
        appender.close()


def ends(installation: Installation) -> list[LogRecord]:
    names = installation.topics
    return installation.read([names.enriched, names.duplicates, names.dead_letter])


def work_off(installation: Installation, *, module: str = "worker") -> None:
    """Run a worker until every raw record has an end."""
    given = len(installation.read([installation.topics.raw]))
    worker = installation.start("enrich", module=module)
    until(lambda: len(ends(installation)) >= given, within_s=90, what=f"{given} ends")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == ExitCode.OK


def retry(installation: Installation, *options: str) -> str:
    ran = installation.run("dead-letters", "retry", *options)
    assert ran.returncode == ExitCode.OK, ran.stderr.decode()
    return ran.stdout.decode().strip()


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_a_record_sent_again_and_again_becomes_one_story(installation: Installation) -> None:
    """Some have keys that do not name their story: only their value does."""
    assert installation.run("topics", "apply").returncode == 0
    raw = installation.topics.raw
    made = [raw_record(article(number), topic=raw) for number in range(2 * ODD)]
    made[0] = NewRecord(topic=raw, key=b"", value=made[0].value)
    give(installation, made)
    work_off(installation, module=FAULTY)
    assert retry(installation) == f"sent again: {ODD}"
    work_off(installation, module=FAULTY)
    dead = installation.read([installation.topics.dead_letter])
    firsts = {str(wire.raw_coordinates(each.headers)) for each in dead if not wire.header(each.headers, "retried-from")}
    origins = Counter(wire.header(each.headers, "retried-from") for each in dead)
    assert origins == Counter(dict.fromkeys(firsts, 1)) + Counter({None: ODD})

    left_out = f"left out, further dead letters of the same records: {ODD}"
    assert retry(installation, "--dry-run") == f"would be sent again: {ODD}; {left_out}"
    assert retry(installation) == f"sent again: {ODD}; {left_out}"
    waiting = f"left out, sent before and not worked off yet: {ODD}"
    assert retry(installation) == f"sent again: 0; {waiting}; {left_out}"
    assert retry(installation, "--again") == f"sent again: {ODD}; {left_out}"
    work_off(installation)
    give(
        installation, [raw_record(article(number, "broke off its talks about the dam"), topic=raw) for number in (0, 1)]
    )
    work_off(installation)
    fine = f"left out, sent before and fine since: {ODD}"
    assert retry(installation) == f"sent again: 0; {fine}; {left_out}"
    assert retry(installation, "--again") == f"sent again: {ODD}; {left_out}"
    work_off(installation)

    enriched = installation.read([installation.topics.enriched])
    versions = Counter((each.key, wire.header(each.headers, "version")) for each in enriched)
    assert set(versions.values()) == {1}
    assert Counter(wire.header(each.headers, "kind") for each in enriched) == {"new": 2 * ODD, "update": 2}
    again = installation.read([installation.topics.duplicates])
    assert Counter(wire.header(each.headers, "kind") for each in again) == {"repeat": 2 * ODD}
    told = Counter(str(wire.raw_coordinates(each.headers)) for each in ends(installation))
    assert set(told.values()) == {1}
