"""The oracle must be able to say no: losses and doubles planted in real topics, and each of its other checks."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from tests.faults import oracle
from tests.faults.load import records
from tests.faults.oracle import Findings, Names, Seen, View
from tests.support.installation import Installation
from tests.support.services import KafkaBroker
from tests.support.waiting import until
from worker.edges.data_folder import LOG_FILE
from worker.ports import NewRecord

COUNT = 100


def view_of(installation: Installation) -> View:
    bootstrap = installation.environ.get("DATELINE_KAFKA_BOOTSTRAP")
    if bootstrap:
        return oracle.KafkaView(bootstrap)
    return oracle.SqliteView(installation.folder / "data" / LOG_FILE)


def names_of(installation: Installation) -> Names:
    topics = installation.topics
    prefix = installation.environ.get("DATELINE_KAFKA_GROUP_PREFIX", "")
    return Names(
        raw=topics.raw,
        enriched=topics.enriched,
        duplicates=topics.duplicates,
        dead_letter=topics.dead_letter,
        routes=(topics.route("sanctions"),),
        group=f"{prefix}enrich",
        identities=topics.prefix,
    )


def append(installation: Installation, *new: NewRecord) -> None:
    with installation.log() as log:
        appender = log.appender()
        appender.append(new)
        appender.close()


@pytest.mark.timeout(90)
def test_what_a_worker_made_is_right_until_something_is_lost_or_doubled(installation: Installation) -> None:
    assert installation.run("topics", "apply").returncode == 0
    view, names = view_of(installation), names_of(installation)
    append(installation, *records(range(COUNT), names.raw))
    worker = installation.start("enrich")
    until(lambda: view.committed(names.group, names.raw) == view.ends(names.raw), within_s=60)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert oracle.judge(view, names) == Findings(records=COUNT)
    assert view.records(names.routes[0]), "the load must reach a route, or its check sees nothing"

    append(installation, *records([COUNT], names.raw))
    lost = oracle.judge(view, names)
    assert [name.split()[0] for name in lost.lost] == [f"n{COUNT}"]
    assert any("is committed up to" in problem for problem in lost.problems)

    again = view.records(names.enriched)[7]
    append(installation, _as_new(again))
    doubled = oracle.judge(view, names, offsets=False)
    assert len(doubled.doubled) == 1
    assert not doubled.well


def _as_new(record: Seen) -> NewRecord:
    return NewRecord(
        topic=record.topic, key=record.key or b"", value=record.value, headers=tuple(record.headers.items())
    )


@pytest.mark.timeout(60)
@pytest.mark.kafka
def test_a_transaction_left_open_is_named(kafka: KafkaBroker, topic_prefix: str) -> None:
    from kafka import KafkaAdminClient, KafkaProducer
    from kafka.admin import NewTopic

    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    admin.create_topics([NewTopic(f"{topic_prefix}x", 1, 1)])
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=f"{topic_prefix}w-0")
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(f"{topic_prefix}x", b"1").get(10)
    view = oracle.KafkaView(kafka.bootstrap)

    assert view.open_transactions(topic_prefix) == [f"{topic_prefix}w-0: Ongoing"]
    assert view.records(f"{topic_prefix}x", committed=False)
    producer.abort_transaction()
    assert view.open_transactions(topic_prefix) == []
    assert view.records(f"{topic_prefix}x") == []
    producer.close()
    admin.close()


NAMES = Names(raw="raw", enriched="enriched", duplicates="dup", dead_letter="dead", routes=("route",), group="g")


class InMemory:
    """Topics as plain lists."""

    def __init__(self, topics: dict[str, list[Seen]]) -> None:
        self.topics = topics

    def records(self, topic: str, *, committed: bool = True) -> list[Seen]:
        del committed  # nothing is ever aborted here
        return self.topics.get(topic, [])

    def committed(self, group: str, topic: str) -> dict[int, int]:
        del group
        return self.ends(topic)

    def ends(self, topic: str) -> dict[int, int]:
        return {0: len(self.topics[topic])}

    def open_transactions(self, prefix: str) -> list[str]:
        del prefix
        return []


def raw(offset: int, expect: str, link: str = "") -> Seen:
    return Seen(
        topic="raw",
        partition=0,
        offset=offset,
        key=b"k",
        value=b'{"link": "%s"}' % link.encode(),
        headers={"x-id": b"n%d" % offset, "x-expect": expect.encode()},
    )


def end(topic: str, offset: int, of: int, kind: str, link: str = "") -> Seen:
    return Seen(
        topic=topic,
        partition=0,
        offset=offset,
        key=b"k",
        value=b'{"link": "%s"}' % link.encode(),
        headers={"raw": b"raw/0/%d" % of, "kind": kind.encode()},
    )


def good() -> dict[str, list[Seen]]:
    """Return a small world in which all is well."""
    story = end("enriched", 0, 0, "new", "a")
    return {
        "raw": [raw(0, "story", "a"), raw(1, "update", "a"), raw(2, "copies:1", "b"), raw(3, "copies:1", "c")],
        "enriched": [story, end("enriched", 1, 1, "update", "a"), end("enriched", 2, 2, "new", "b")],
        "dup": [end("dup", 0, 3, "copy", "c")],
        "route": [replace(story, topic="route")],
    }


def problems(topics: dict[str, list[Seen]]) -> str:
    return " ".join(oracle.judge(InMemory(topics), NAMES).problems)


def test_a_small_world_in_which_all_is_well() -> None:
    assert oracle.judge(InMemory(good()), NAMES).well


def test_the_wrong_verdict_is_told() -> None:
    world = good()
    world["enriched"][1] = end("enriched", 1, 1, "new", "a")
    assert "n1 should be update, is b'new'" in problems(world)


def test_the_content_of_another_record_is_told() -> None:
    world = good()
    world["enriched"][0] = world["route"][0] = end("enriched", 0, 0, "new", "other")
    assert "is another's" in problems(world)


def test_two_stories_of_one_group_of_copies_are_told() -> None:
    world = good()
    world["enriched"].append(replace(world["dup"].pop(), topic="enriched", offset=3))
    assert "copies:1: 2 stories" in problems(world)


def test_a_changed_order_is_told() -> None:
    world = good()
    first, second, third = world["enriched"]
    world["enriched"] = [replace(second, offset=0), replace(first, offset=1), third]
    assert "0 comes after 1" in problems(world)


def test_an_end_without_a_raw_record_is_told() -> None:
    world = good()
    world["enriched"].append(end("enriched", 3, 9, "new", "a"))
    assert "without a raw record: (0, 9)" in problems(world)


def test_an_end_that_names_no_raw_record_is_told() -> None:
    world = good()
    world["dup"].append(replace(world["dup"][0], offset=1, headers={"kind": b"copy"}))
    assert "does not say which raw record" in problems(world)


def test_a_route_that_has_a_story_twice_or_alone_is_told() -> None:
    world = good()
    world["route"].append(replace(world["route"][0], offset=1))
    assert "2 times" in problems(world)
    world["route"][1] = replace(world["enriched"][1], topic="route", offset=1, value=b"{}")
    assert "is not what the enriched topic has" in problems(world)


def test_a_dead_letter_with_other_bytes_is_told() -> None:
    world = good()
    world["raw"].append(raw(4, "bad"))
    world["dead"] = [replace(end("dead", 0, 4, ""), value=b"x")]
    assert "is another's" in problems(world)
