"""The judge's rules, one by one, over a memory of plain dictionaries."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count

import pytest

from worker.records import Basis, Coordinates, Fingerprint, Verdict, VerdictKind
from worker.stages.judge import MAX_SHOWN, MAX_SOURCES, MAX_TEXTS, Memory

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEW, UPDATE, REPEAT, COPY = VerdictKind.NEW, VerdictKind.UPDATE, VerdictKind.REPEAT, VerdictKind.COPY


def _key(name: str, digits: int = 32) -> str:
    return sha256(name.encode()).hexdigest()[:digits]


class Desk:
    """Judges articles that a test describes by story, text and feed; each gets the next offset."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.offsets = count()

    def fingerprint(
        self,
        story: str,
        text: str,
        *,
        feed: str = "north",
        publisher: str | None = None,
        basis: Basis = Basis.FEED,
        link: str | None = None,
        guid: str | None = None,
        short: bool = False,
    ) -> Fingerprint:
        return Fingerprint(
            raw=Coordinates(topic="news.raw", partition=0, offset=next(self.offsets)),
            story=_key(story, 64),
            feed=feed,
            publisher=publisher or feed,
            basis=basis,
            text_state=_key("state" + text),
            link_key=_key("link" + (link or story)),
            guid_key=None if guid is None else _key(f"guid {feed} {guid}"),
            copy_key=None if short else _key("copy" + text),
        )

    def see(self, story: str, text: str, *, now: datetime = NOW, **more: object) -> Verdict:
        return self.memory.judge(self.fingerprint(story, text, **more), now=now)  # type: ignore[arg-type]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_what_was_never_seen_is_new(desk: Desk) -> None:
    verdict = desk.see("a", "bridge opens")
    assert verdict == Verdict(kind=NEW, story=_key("a", 64), version=1, first_seen=NOW)


def test_a_raw_record_keeps_its_verdict_after_later_versions(desk: Desk) -> None:
    first = desk.fingerprint("a", "bridge opens")
    verdict = desk.memory.judge(first, now=NOW)
    desk.see("a", "bridge opens today")
    before = replace(desk.memory.stories[_key("a", 64)])
    assert desk.memory.judge(first, now=NOW + timedelta(days=2)) == verdict
    assert desk.memory.stories[_key("a", 64)] == before


def test_a_dead_letter_sent_again_twice_is_judged_once_whatever_came_between(desk: Desk) -> None:
    """Without the origin the second one would count as a feed that goes back to its earlier text."""
    first, second = (replace(desk.fingerprint("a", "bridge opens"), origin_key=_key("origin")) for _ in range(2))
    other = replace(desk.fingerprint("a", "bridge opens"), origin_key=_key("another origin"))
    given = desk.memory.judge(first, now=NOW)
    assert desk.see("a", "bridge closes").version == 2

    again = desk.memory.judge(second, now=NOW)

    assert (given.kind, again.kind, again.version, again.matched_by) == (NEW, REPEAT, 2, "story")
    assert desk.memory.judge(first, now=NOW) == given
    assert desk.memory.judge(second, now=NOW) == again
    assert desk.memory.judge(other, now=NOW).kind == UPDATE


def test_the_same_text_again_is_a_repeat(desk: Desk) -> None:
    desk.see("a", "bridge opens")
    verdict = desk.see("a", "bridge opens", now=NOW + timedelta(hours=1))
    assert (verdict.kind, verdict.version, verdict.matched_by, verdict.first_seen) == (REPEAT, 1, "story", NOW)


def test_each_changed_text_of_a_feed_is_the_next_version(desk: Desk) -> None:
    desk.see("a", "toll 12")
    assert [
        (v.kind, v.version) for v in (desk.see("a", "toll 15"), desk.see("a", "toll 15"), desk.see("a", "toll 20"))
    ] == [
        (UPDATE, 2),
        (REPEAT, 2),
        (UPDATE, 3),
    ]


def test_going_back_to_an_earlier_text_is_a_change_again(desk: Desk) -> None:
    desk.see("a", "toll 12")
    desk.see("a", "toll 15")
    verdict = desk.see("a", "toll 12")
    assert (verdict.kind, verdict.version) == (UPDATE, 3)


def test_a_second_feed_with_another_teaser_repeats_until_its_own_text_changes(desk: Desk) -> None:
    desk.see("a", "long teaser", feed="world")
    assert desk.see("a", "short teaser", feed="asia").kind is REPEAT
    assert desk.see("a", "short teaser", feed="asia").kind is REPEAT
    assert desk.see("a", "short teaser, corrected", feed="asia").version == 2


def test_an_edit_that_two_feeds_show_one_after_the_other_is_one_update(desk: Desk) -> None:
    desk.see("a", "one", feed="world")
    desk.see("a", "one", feed="asia")
    assert desk.see("a", "two", feed="world").version == 2
    assert desk.see("a", "two", feed="asia").kind is REPEAT
    assert desk.see("a", "three", feed="world").version == 3
    assert desk.see("a", "four", feed="world").version == 4
    assert desk.see("a", "three", feed="asia").kind is REPEAT
    assert desk.see("a", "four", feed="asia").kind is REPEAT


def test_a_page_is_not_compared_with_a_teaser(desk: Desk) -> None:
    desk.see("a", "teaser")
    assert desk.see("a", "whole page", basis=Basis.PAGE).kind is REPEAT
    assert desk.see("a", "teaser").kind is REPEAT
    assert desk.see("a", "whole page, edited", basis=Basis.PAGE).kind is UPDATE


def test_another_link_with_the_same_text_is_a_copy_and_counts_as_a_source(desk: Desk) -> None:
    desk.see("a", "bridge opens", feed="agency")
    verdict = desk.see("b", "bridge opens", feed="paper")
    assert (verdict.kind, verdict.story, verdict.matched_by) == (COPY, _key("a", 64), "text")
    assert (verdict.copies, verdict.independent_sources, verdict.original_publisher) == (1, 2, "agency")
    again = desk.see("c", "bridge opens", feed="paper")
    assert (again.copies, again.independent_sources) == (2, 2)
    update = desk.see("a", "bridge opens today", feed="agency")
    assert (update.copies, update.independent_sources) == (2, 2)


def test_a_copy_of_a_copy_names_the_first_story(desk: Desk) -> None:
    desk.see("a", "bridge opens")
    desk.see("b", "bridge opens", link="b")
    assert desk.see("c", "other words", link="b").story == _key("a", 64)


def test_a_copy_of_an_update_or_of_an_older_version_is_a_copy_of_the_story_as_it_is_now(desk: Desk) -> None:
    desk.see("a", "one")
    desk.see("a", "two")
    for number, text in enumerate(("one", "two")):
        verdict = desk.see(f"copy {number}", text, feed=f"paper{number}")
        assert (verdict.kind, verdict.story, verdict.version) == (COPY, _key("a", 64), 2)


def test_a_copy_seen_again_repeats_its_original_and_is_not_counted_twice(desk: Desk) -> None:
    desk.see("a", "bridge opens")
    desk.see("b", "bridge opens", feed="paper")
    verdict = desk.see("b", "bridge opens", feed="paper")
    assert (verdict.kind, verdict.story, verdict.copies) == (REPEAT, _key("a", 64), 1)


def test_a_copy_that_follows_its_originals_update_is_a_copy_again_but_counted_once(desk: Desk) -> None:
    desk.see("a", "one", feed="agency")
    desk.see("b", "one", feed="paper")
    desk.see("a", "two", feed="agency")
    verdict = desk.see("b", "two", feed="paper")
    assert (verdict.kind, verdict.version, verdict.copies) == (COPY, 2, 1)


def test_a_copy_that_gets_words_of_its_own_stands_alone_from_then_on(desk: Desk) -> None:
    desk.see("a", "one", feed="agency")
    desk.see("b", "one", feed="paper")
    later = NOW + timedelta(hours=3)
    verdict = desk.see("b", "our own report", feed="paper", now=later)
    assert verdict == Verdict(kind=NEW, story=_key("b", 64), version=1, first_seen=later)
    assert desk.see("b", "our own report, part two", feed="paper").version == 2
    assert desk.see("c", "our own report", feed="third").story == _key("b", 64)


def test_a_copy_that_turns_to_another_story_is_counted_there(desk: Desk) -> None:
    desk.see("a", "one", feed="agency")
    desk.see("x", "other", feed="rival")
    desk.see("b", "one", feed="paper")
    verdict = desk.see("b", "other", feed="paper")
    assert (verdict.kind, verdict.story, verdict.copies) == (COPY, _key("x", 64), 1)


def test_the_same_link_under_another_id_is_a_repeat_that_never_counts(desk: Desk) -> None:
    desk.see("a", "one")
    verdict = desk.see("b", "one", link="a")
    assert (verdict.kind, verdict.story, verdict.matched_by, verdict.copies) == (REPEAT, _key("a", 64), "link", 0)
    desk.see("a", "two")
    behind = desk.see("b", "two", link="a")
    assert (behind.kind, behind.copies) == (REPEAT, 0)


def test_the_same_guid_in_a_feed_is_a_repeat_and_in_another_feed_says_nothing(desk: Desk) -> None:
    desk.see("a", "one", guid="7")
    assert desk.see("b", "two", guid="7").matched_by == "guid"
    assert desk.see("c", "three", guid="7", feed="south").kind is NEW


def test_a_text_too_short_to_prove_a_copy_is_new_under_each_link(desk: Desk) -> None:
    assert [desk.see(name, "photos", short=True).kind for name in "ab"] == [NEW, NEW]


def test_a_key_whose_story_is_forgotten_proves_nothing_and_is_claimed_anew(desk: Desk) -> None:
    desk.see("a", "one")
    del desk.memory.stories[_key("a", 64)]
    assert desk.see("b", "one").kind is NEW
    assert desk.see("c", "one").story == _key("b", 64)


def test_a_copy_whose_original_is_forgotten_is_judged_afresh(desk: Desk) -> None:
    desk.see("a", "one")
    desk.see("b", "one")
    del desk.memory.stories[_key("a", 64)]
    assert desk.see("b", "one").kind is NEW


def test_what_is_kept_of_one_story_is_bounded(desk: Desk) -> None:
    desk.see("a", "text 0")
    for number in range(1, 100):
        desk.see("a", f"text {number}")
        desk.see("a", f"teaser {number}", feed=f"feed{number}")
        desk.see(f"copy {number}", "text 0", feed=f"paper{number}")
    state = desk.memory.stories[_key("a", 64)]
    assert (len(state.shown), len(state.sources), len(state.texts)) == (MAX_SHOWN, MAX_SOURCES, MAX_TEXTS)
    assert (state.version, state.copies) == (100, 99)


def test_one_body_under_two_titles_of_one_publisher_may_be_boilerplate_and_is_no_copy(desk: Desk) -> None:
    """A feed whose every summary is the same notice would lose all stories but one."""
    first = desk.fingerprint("a", "bridge opens", publisher="herald")
    second = replace(desk.fingerprint("b", "tunnel closes", publisher="herald"), copy_key=first.copy_key)
    elsewhere = replace(desk.fingerprint("c", "tunnel shut", publisher="courier"), copy_key=first.copy_key)

    kinds = [desk.memory.judge(item, now=NOW).kind for item in (first, second, elsewhere)]

    assert kinds == [NEW, NEW, COPY]
