"""When a feed is asked again, and what of it is new."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from worker.records import FeedEntry
from worker.stages.schedule import MAX_KNOWN, longest_pause_s, new_and_changed, next_poll, wait_s

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def pause(**more: object) -> float:
    given = {"interval_s": 300.0, "random": 0.5, **more}
    return (next_poll(now=NOW, **given) - NOW).total_seconds()  # type: ignore[arg-type]


def entry(number: int, text: str = "text", age: timedelta | None = None) -> FeedEntry:
    return FeedEntry(guid=f"g{number}", title=f"t{number}", summary=text, published_at=NOW - age if age else None)


def test_a_feed_is_asked_each_interval_give_or_take_a_tenth() -> None:
    assert [pause(random=chance) for chance in (0.0, 0.5, 0.999999)] == pytest.approx([270, 300, 330], abs=0.1)


def test_failures_double_the_pause_up_to_an_hour_and_hard_ones_up_to_a_day() -> None:
    assert [pause(failures=count) for count in (1, 2, 3, 9)] == [300, 600, 1200, 3600]
    assert pause(failures=9, hard=True) == 300 * 2**8
    assert pause(failures=99, hard=True) == 86_400
    assert pause(failures=5000, interval_s=7200.0) == 7200


@pytest.mark.parametrize(("asked", "given"), [(10.0, 300.0), (900.0, 900.0), (1e9, 86_400.0), (-1.0, 300.0)])
def test_retry_after_counts_between_the_interval_and_a_day(asked: float, given: float) -> None:
    assert pause(retry_after_s=asked, failures=1) == given


def test_a_feed_is_due_when_its_time_has_come_or_makes_no_sense() -> None:
    assert wait_s(None, NOW, longest_s=330) == 0
    assert wait_s(NOW - timedelta(days=3), NOW, longest_s=330) == 0
    assert wait_s(NOW + timedelta(seconds=90), NOW, longest_s=330) == 90
    later = [wait_s(NOW + timedelta(hours=1, seconds=due), NOW, longest_s=330) for due in (0, 100, 200)]
    assert later == [300, 70, 170]  # a clock set back by an hour: within a pause of ours, and not all at once


def test_only_a_failure_makes_a_pause_longer_than_the_interval() -> None:
    assert longest_pause_s(300, 0) == pytest.approx(330)
    assert longest_pause_s(300, 3) == pytest.approx(1.1 * 86_400)


def test_only_new_and_changed_entries_are_found_oldest_first() -> None:
    first = new_and_changed("", [entry(2), entry(1)], now=NOW)
    assert [found.guid for found in first.entries] == ["g1", "g2"]
    assert new_and_changed(first.known, [entry(2), entry(1)], now=NOW).entries == ()
    later = new_and_changed(first.known, [entry(3), entry(2), entry(1, "corrected")], now=NOW)
    assert [found.guid for found in later.entries] == ["g1", "g3"]
    assert (later.new, later.changed) == (1, 1)


def test_dates_links_and_white_space_are_no_change() -> None:
    known = new_and_changed("", [entry(1, "a b")], now=NOW).known
    same = replace(entry(1, "a \n b"), published_at=NOW, link="https://example.com/?v=2")
    assert new_and_changed(known, [same], now=NOW).entries == ()


def test_a_first_poll_takes_the_young_and_the_undated_and_remembers_the_old() -> None:
    entries = [entry(1, age=timedelta(hours=1)), entry(2, age=timedelta(days=3)), entry(3)]
    first = new_and_changed("", entries, now=NOW, first_age_s=86_400)
    assert {found.guid for found in first.entries} == {"g1", "g3"}
    assert first.too_old == 1
    assert new_and_changed(first.known, entries, now=NOW).entries == ()


def test_an_entry_that_comes_twice_in_one_document_counts_once_and_does_not_flap() -> None:
    twice = [entry(1, "long text"), entry(1, "short")]
    first = new_and_changed("", twice, now=NOW)
    assert [found.summary for found in first.entries] == ["long text"]
    assert new_and_changed(first.known, twice, now=NOW).entries == ()


def test_the_memory_keeps_twice_the_feed_and_stays_within_its_size() -> None:
    old = [entry(number) for number in range(200)]
    known = new_and_changed("", old, now=NOW).known
    known = new_and_changed(known, [entry(number) for number in range(1000, 1200)], now=NOW).known
    assert new_and_changed(known, old, now=NOW).entries == ()
    many = [entry(number) for number in range(5000)]
    known = new_and_changed("", many, now=NOW).known
    assert len(base64.b64decode(known)) == MAX_KNOWN * 16
    assert len(known) < 56 * 1024


@pytest.mark.parametrize("known", ["not base64!", "AAAA", "\u00e9"])
def test_a_memory_that_cannot_be_read_is_empty(known: str) -> None:
    assert len(new_and_changed(known, [entry(1)], now=NOW).entries) == 1
