"""The oracle of the poller must be able to say no."""

from __future__ import annotations

import json

import pytest

from tests.faults.oracle import Findings, Names, Seen
from tests.faults.poller_oracle import judge

NAMES = Names(raw="raw", enriched="enriched", duplicates="duplicates", dead_letter="dead", group="g")
SERVED = frozenset({"a", "b"})


class Topics:
    """What lies in the topics, as a View."""

    def __init__(self) -> None:
        self.all: list[Seen] = []
        self.done = 3
        for offset, link in enumerate(["a", "b", "b"]):
            self.put("raw", link, offset)
        self.put("enriched", "a", 0, kind="new", of=0)
        self.put("enriched", "b", 1, kind="new", of=1)
        self.put("duplicates", "b", 0, kind="repeat", of=2)

    def put(self, topic: str, link: str, offset: int, *, kind: str = "", of: int = 0) -> None:
        headers = {"kind": kind.encode(), "raw": b"raw/0/%d" % of} if kind else {}
        value = json.dumps({"link": link}).encode()
        self.all.append(Seen(topic=topic, partition=0, offset=offset, key=link.encode(), value=value, headers=headers))

    def records(self, topic: str, *, committed: bool = True) -> list[Seen]:
        assert committed
        return [each for each in self.all if each.topic == topic]

    def committed(self, group: str, topic: str) -> dict[int, int]:
        assert (group, topic) == ("g", "raw")
        return {0: self.done}

    def ends(self, topic: str) -> dict[int, int]:
        return {0: len(self.records(topic))}

    def open_transactions(self, prefix: str) -> list[str]:
        assert not prefix
        return []


def test_an_entry_repeated_by_a_poller_is_well() -> None:
    assert judge(Topics(), NAMES, served=SERVED) == Findings(records=2)


def test_an_entry_that_is_not_in_raw_is_lost() -> None:
    assert judge(Topics(), NAMES, served=SERVED | {"c"}).lost == ("c: not in raw",)


def test_a_raw_record_without_an_end_is_lost() -> None:
    topics = Topics()
    topics.put("raw", "a", 3)
    assert judge(topics, NAMES, served=SERVED).lost == ("raw/0/3: no end",)


def test_an_entry_that_is_new_twice_is_doubled() -> None:
    topics = Topics()
    topics.put("raw", "a", 3)
    topics.put("enriched", "a", 2, kind="new", of=3)
    assert judge(topics, NAMES, served=SERVED).doubled == ("a: 2 times in enriched",)


def test_a_raw_record_with_two_ends_is_doubled() -> None:
    topics = Topics()
    topics.put("duplicates", "b", 1, kind="repeat", of=2)
    assert judge(topics, NAMES, served=SERVED).doubled == ("raw/0/2: 2 ends",)


@pytest.mark.parametrize(
    ("topic", "kind", "problem"),
    [
        ("enriched", "update", "c is update, not new"),
        ("duplicates", "copy", "duplicates/0/9 is copy"),
        ("dead", "", "dead letter dead/0/9"),
    ],
)
def test_another_end_than_new_and_repeat_is_a_problem(topic: str, kind: str, problem: str) -> None:
    topics = Topics()
    topics.put("raw", "c", 3)
    topics.put(topic, "c", 9, kind=kind, of=3)
    assert problem in judge(topics, NAMES, served=SERVED | {"c"}).problems


def test_what_nobody_served_and_what_is_not_committed_are_problems() -> None:
    topics = Topics()
    topics.done = 2
    problems = judge(topics, NAMES, served=frozenset({"a"})).problems
    assert problems == ("nobody served b", "committed are {0: 2} of {0: 3}")
