"""`dateline audit`: it says yes to a good installation, and finds by name what is planted in it."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.make import raw_article, raw_record
from tests.support.installation import Installation
from tests.support.waiting import until
from worker import wire
from worker.commands.accounting import Audit, Report
from worker.commands.ledger import Finding, Ledger
from worker.commands.output import Progress
from worker.edges.process import ExitCode
from worker.edges.sqlite_clean import clean
from worker.edges.sqlite_log import SqliteLog
from worker.edges.sqlite_schema import connect, transaction
from worker.enriching import TopicNames
from worker.ports import LogRecord, NewRecord, TopicSpec
from worker.records import Coordinates

NAMES = TopicNames()
SANCTIONS = "<p>The Security Council imposed new sanctions on North Korea and froze the assets of bank {}.</p>"


def finding(offset: int, what: str, topic: str = "") -> Finding:
    return Finding(partition=0, offset=offset, what=what, topic=topic)


def ledger_of(offsets: Sequence[int], *, outside: Sequence[int] = ()) -> Ledger:
    ledger = Ledger()
    for offset in sorted([*offsets, *outside]):
        ledger.raw_record(0, offset, inside=offset in offsets)
    return ledger


def test_one_end_for_each_record_closes_the_books() -> None:
    ledger = ledger_of([5, 6, 8], outside=[4, 9])
    for offset in (3, 4, 5, 6, 8, 9, 40):
        ledger.end(0, offset, "duplicates")
    assert list(ledger.findings()) == []
    assert (ledger.raw, ledger.ends["duplicates"], ledger.others, ledger.gaps()) == (3, 3, 2, 1)


def test_missing_doubled_and_unknown_records_are_named() -> None:
    ledger = ledger_of([0, 1, 3], outside=[5])
    for offset in (1, 1, 2, 5, 5, 5):
        ledger.end(0, offset, "dead-letter")
    assert list(ledger.findings()) == [finding(0, "missing"), finding(1, "doubled"), finding(2, "no-raw-record"),
                                       finding(3, "missing")]  # fmt: skip
    ledger.old(0, 0)
    assert next(ledger.findings()) == finding(0, "unprovable")


def test_an_end_by_a_replay_is_none_of_ours() -> None:
    ledger = ledger_of([0, 1])
    ledger.end(0, 0, "enriched", enriched=True)
    for offset in (0, 1):
        ledger.replay(0, offset, "enriched")
    assert list(ledger.findings()) == [finding(1, "missing")]
    assert ledger.replayed == {"enriched": 2}


@pytest.mark.parametrize(
    ("routes", "copies", "what"),
    [
        (["a"], ["a"], None),
        (["a", "b"], ["a", "b"], None),
        ([], [], None),
        (None, ["a"], None),
        (["a"], [], "copy-missing"),
        (["a"], ["a", "a"], "copy-doubled"),
        ([], ["a"], "copy-without-enriched"),
    ],
)
def test_copies_stand_on_the_routes_that_the_enriched_record_names(
    routes: list[str] | None, copies: list[str], what: str | None
) -> None:
    ledger = ledger_of([0])
    for copy in copies:  # the order of topics must not matter
        ledger.copy(0, 0, copy)
    ledger.end(0, 0, "enriched", enriched=True, routes=routes)
    assert [each.what for each in ledger.findings()] == ([] if what is None else [what])


def test_a_copy_of_what_is_not_enriched_is_named() -> None:
    ledger = ledger_of([0])
    ledger.end(0, 0, "duplicates")
    ledger.copy(0, 0, "a")
    assert list(ledger.findings()) == [finding(0, "copy-without-enriched", "a")]


# --- a real installation ---------------------------------------------------------------------------------------------


def give(installation: Installation, records: Sequence[NewRecord]) -> None:
    with installation.log() as log:
        appender = log.appender()
        appender.append(records)
        appender.close()


def audit(installation: Installation, *options: str) -> tuple[int, dict[str, Any]]:
    ran = installation.run("audit", "--json", *options)
    assert ran.returncode in (ExitCode.OK, 1), ran.stderr.decode()
    return ran.returncode, json.loads(ran.stdout)


def again(record: LogRecord, topic: str, *more: tuple[str, bytes]) -> NewRecord:
    """Return a copy of *record* for *topic*, as a worker gone wrong would write it."""
    return NewRecord(topic=topic, key=record.key or b"", value=record.value, headers=(*record.headers, *more))


def lose(installation: Installation, outputs: Sequence[NewRecord] = ()) -> list[Coordinates]:
    """Commit the offsets of all that is not worked off, with *outputs*; return the coordinates."""
    lost: list[Coordinates] = []
    prefix = installation.environ.get("DATELINE_KAFKA_GROUP_PREFIX", "")
    with installation.log() as log:
        wanted = sum(end for _, end in log.bounds([installation.topics.raw]).values())
        member = log.member(group=f"{prefix}enrich", identity="thief", topics=[installation.topics.raw])

        def taken() -> bool:
            batch = member.poll(timeout_s=0.5)
            if batch.records:
                member.commit(batch, outputs)
                lost.extend(record.coordinates for record in batch.records)
            committed = log.committed(f"{prefix}enrich", [installation.topics.raw])
            return sum(committed.values()) == wanted

        until(taken, within_s=60, what="all committed")
        member.close()
    return lost


@pytest.mark.timeout(300)
def test_a_good_installation_is_accounted_for_and_each_planted_fault_is_named(installation: Installation) -> None:
    assert installation.run("topics", "apply").returncode == 0
    names = installation.topics
    articles = [raw_article(f"n{n}", title=f"Talks {n}", summary=SANCTIONS.format(n)) for n in range(30)]
    copies = [raw_article(f"c{n}", title=f"Talks {n}", summary=SANCTIONS.format(n)) for n in range(10)]
    made = [raw_record(each, topic=names.raw) for each in (*articles, *copies)]
    give(installation, [*made, *(NewRecord(topic=names.raw, key=b"%d" % n, value=b"\xff") for n in range(5))])
    worker = installation.start("enrich")
    topics = [names.enriched, names.duplicates, names.dead_letter]
    until(lambda: len(installation.read(topics)) >= 45, within_s=90, what="45 ends")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    give(installation, [raw_record(raw_article("late"), topic=names.raw)])

    code, said = audit(installation)

    assert (code, said["accounted"], said["problems"]) == (0, True, [])
    counts = {name: count for name, count in said["counts"].items() if count}
    routed = len(installation.read([names.route("sanctions")]))
    assert routed
    assert counts == {"raw": 46, "enriched": 30, "duplicates": 10, "dead-letter": 5, "in-flight": 1,
                      "copies sanctions": routed}  # fmt: skip
    assert audit(installation, "--from", "1h")[1]["counts"] == said["counts"]
    assert audit(installation, "--to", "2020-01-01")[1]["counts"]["raw"] == 0

    first, second = installation.read([names.enriched])[:2]
    (dead, *_) = installation.read([names.dead_letter])
    unmatched = NewRecord(
        topic=names.enriched, key=b"k", value=b"{}", headers=(("raw", b"elsewhere/0/1"), ("kind", b"new"))
    )
    give(
        installation,
        [
            again(first, names.enriched),
            again(second, names.enriched, ("reprocessed", b"true")),
            again(dead, names.route("china-dprk")),
            unmatched,
        ],
    )
    (stolen,) = lose(installation)

    code, said = audit(installation, "--from", "1h")

    found = {problem["what"]: problem for problem in said["problems"]}
    assert code == 1
    assert set(found) == {"lost", "doubled", "copy-without-enriched china-dprk"}
    assert found["lost"]["raw"] == str(stolen)
    assert found["doubled"]["raw"] == str(wire.raw_coordinates(first.headers))
    assert len([end for end in found["doubled"]["ends"] if end.startswith(names.enriched)]) == 2
    assert found["copy-without-enriched china-dprk"]["raw"] == str(wire.raw_coordinates(dead.headers))
    assert said["counts"]["replayed"] == 1
    assert any("other writers" in note for note in said["notes"])
    told = installation.run("audit").stdout.decode().splitlines()
    assert f"lost\t{stolen}" in [line.rpartition("\t")[0] for line in told]
    assert told[-1] == "accounted\tNO"


# --- what retention takes away ---------------------------------------------------------------------------------------


def report(log: SqliteLog, *, from_ms: int | None = None, compacted_before_ms: int = 0) -> Report:
    shown = Progress("records read", enabled=False)
    return Audit(log, NAMES, {}, group="enrich", from_ms=from_ms, until_ms=None,
                 compacted_before_ms=compacted_before_ms, limit=10, shown=shown).report()  # fmt: skip


@pytest.fixture
def log(tmp_path: Path) -> SqliteLog:
    """Return a log whose 20 raw records all end as duplicates; raw is kept 2 s, duplicates 1 s, if anybody cleans."""
    log = SqliteLog.open(tmp_path / "log.sqlite")
    log.create_topics([TopicSpec(name=NAMES.raw, partitions=1, retention_ms=2_000_000),
                       TopicSpec(name=NAMES.duplicates, partitions=1, retention_ms=1_000_000),
                       TopicSpec(name=NAMES.enriched, partitions=1),
                       TopicSpec(name=NAMES.dead_letter, partitions=1)])  # fmt: skip
    appender = log.appender()
    appender.append([NewRecord(topic=NAMES.raw, key=b"k", value=b"%d" % number) for number in range(20)])
    appender.close()
    member = log.member(group="enrich", identity="w", topics=[NAMES.raw])
    batch = member.poll(timeout_s=5)
    raws = [str(record.coordinates).encode() for record in batch.records]
    member.commit(batch, [NewRecord(topic=NAMES.duplicates, key=b"k", value=b"", headers=(("raw", r),)) for r in raws])
    member.close()
    return log


def clean_as_if_later(folder: Path, later_ms: int) -> None:
    path = folder / "log.sqlite"
    with closing(connect(path)) as db, transaction(db, path):
        (newest,) = db.execute("SELECT max(timestamp_ms) FROM record").fetchone()
        assert isinstance(db, sqlite3.Connection)
        clean(db, after_part=0, now_ms=newest + later_ms)


def test_what_retention_took_from_the_outputs_is_no_false_alarm(log: SqliteLog, tmp_path: Path) -> None:
    assert report(log).good
    clean_as_if_later(tmp_path, 1_500_000)

    said = report(log)

    assert said.good
    assert (said.counts["raw"], said.counts["unprovable"], said.counts["lost"]) == (20, 20, 0)
    assert any("removed by retention" in note for note in said.notes)


def test_what_retention_took_from_the_raw_topic_is_said(log: SqliteLog, tmp_path: Path) -> None:
    appender = log.appender()
    clean_as_if_later(tmp_path, 3_000_000)
    appender.append([NewRecord(topic=NAMES.raw, key=b"k", value=b"late")])
    appender.close()

    said = report(log, from_ms=0)

    assert (said.good, said.counts["raw"], said.counts["in-flight"]) == (True, 1, 1)
    assert any("begins at offset 20" in note for note in said.notes)


def test_an_end_with_an_odd_timestamp_is_found_before_anything_is_called_lost(log: SqliteLog, tmp_path: Path) -> None:
    """The writer of raw had its clock days ahead: by the clock the ends came long before."""
    path = tmp_path / "log.sqlite"
    with closing(connect(path)) as db, transaction(db, path):
        (raw,) = db.execute("SELECT first_part FROM topic WHERE name = ?", (NAMES.raw,)).fetchone()
        db.execute("UPDATE record SET timestamp_ms = timestamp_ms + 200000000 WHERE id >> 40 = ?", (raw,))
        (newest,) = db.execute("SELECT max(timestamp_ms) FROM record").fetchone()

    said = report(log, from_ms=newest - 1000)

    assert (said.good, said.counts["raw"], said.counts["duplicates"]) == (True, 20, 20)
