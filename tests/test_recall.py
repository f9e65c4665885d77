"""What was published brings the judge's memory back: the same states, so the same verdicts from then on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st

from worker.recall import UNNAMED, recall
from worker.records import Basis, Coordinates, Fingerprint, Published, Verdict, VerdictKind
from worker.stages.judge import Memory, StoryState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SENT = (VerdictKind.NEW, VerdictKind.UPDATE)


def key(name: str, digits: int = 32) -> str:
    return sha256(name.encode()).hexdigest()[:digits]


def seen(
    story: str, text: str, *, feed: str = "north", link: str | None = None, guid: str | None = None
) -> Fingerprint:
    return Fingerprint(
        raw=Coordinates(topic="news.raw", partition=0, offset=0),
        story=key(story, 64),
        feed=feed,
        publisher=f"{feed}.example",
        basis=Basis.FEED,
        text_state=key("state" + text),
        link_key=key("link" + (link or story)),
        guid_key=None if guid is None else key(f"guid {feed} {guid}"),
        copy_key=key("copy" + text),
    )


def published(memory: Memory, prints: Sequence[Fingerprint]) -> list[Published]:
    """Judge *prints*, a minute apart, and return what goes out."""
    sent = []
    for number, each in enumerate(prints):
        now = NOW + timedelta(minutes=number)
        made = replace(each, raw=replace(each.raw, offset=number))
        sent.append(Published(fingerprint=made, verdict=memory.judge(made, now=now), at=now))
    return sent


def recalled(sent: Sequence[Published]) -> Memory:
    """Return the memory made of *sent* as a rebuild reads it: versions, then duplicates; stories in any order."""
    memory = Memory()
    for wanted in (True, False):
        for item in sorted(sent, key=lambda item: item.fingerprint.story):
            if (item.verdict.kind in SENT) is wanted:
                memory.remember(item.fingerprint, recall(item, memory))
    return memory


def known(state: StoryState) -> tuple[object, ...]:
    """Return all of *state* that later verdicts rest on."""
    shared = (state.original, state.counted, state.shown)
    if not state.version:
        return shared
    return (
        *shared,
        state.version,
        state.first_seen,
        state.publisher,
        len(state.sources),
        state.copies,
        state.texts,
    )


histories = st.lists(
    st.builds(
        seen,
        st.sampled_from("abcd"),
        st.sampled_from(["one", "two", "three", "four"]),
        feed=st.sampled_from(["north", "south", "east"]),
        link=st.sampled_from([None, None, "a", "b"]),
        guid=st.sampled_from([None, "1", "2"]),
    ),
    max_size=30,
)


@settings(max_examples=400, deadline=None)
@given(histories)
def test_all_that_was_published_brings_back_all_that_was_known(prints: list[Fingerprint]) -> None:
    before = Memory()
    after = recalled(published(before, prints))

    assert {story: known(state) for story, state in after.stories.items()} == {
        story: known(state) for story, state in before.stories.items()
    }
    assert after.verdicts == before.verdicts
    assert after.owners.keys() == before.owners.keys()


@settings(max_examples=200, deadline=None)
@given(histories)
def test_what_was_published_is_never_new_again(prints: list[Fingerprint]) -> None:
    after = recalled(published(Memory(), prints))

    for number, each in enumerate(prints):
        again = replace(each, raw=replace(each.raw, offset=10_000 + number))
        assert after.judge(again, now=NOW + timedelta(days=1)).kind is not VerdictKind.NEW


def test_versions_that_compaction_removed_are_not_given_out_again() -> None:
    sent = published(Memory(), [seen("a", "one"), seen("a", "two"), seen("a", "three")])

    after = recalled(sent[2:])

    state = after.stories[key("a", 64)]
    assert (state.version, state.first_seen) == (3, NOW)
    assert after.judge(later(seen("a", "four")), now=NOW).version == 4
    assert after.judge(later(seen("b", "three", feed="south"), 1), now=NOW).kind is VerdictKind.COPY


def test_sources_whose_names_are_gone_still_count_and_a_name_that_is_told_takes_such_a_place() -> None:
    prints = [seen("a", "one"), seen("b", "one", feed="south"), seen("c", "one", feed="east"), seen("a", "two")]
    first, south, _, update = published(Memory(), prints)

    only_update = recalled([update]).stories[key("a", 64)]
    assert only_update.sources == ("north.example", UNNAMED, UNNAMED)
    assert only_update.copies == 2
    assert set(recalled([first, update, south]).stories[key("a", 64)].sources) == {
        "north.example",
        "south.example",
        UNNAMED,
    }


def test_a_story_of_which_only_repeats_are_left_is_known_from_them() -> None:
    sent = published(Memory(), [seen("a", "one"), seen("a", "two"), seen("a", "two")])

    after = recalled(sent[2:])

    assert after.judge(later(seen("a", "two")), now=NOW).kind is VerdictKind.REPEAT
    assert after.judge(later(seen("a", "three"), 1), now=NOW).version == 3


def test_a_version_that_a_replay_sent_takes_nothing_back() -> None:
    one, two = published(Memory(), [seen("a", "one"), seen("a", "two")])
    replayed = replace(one, fingerprint=later(one.fingerprint))

    assert recalled([one, two, replayed]).stories == recalled([one, two]).stories


def later(fingerprint: Fingerprint, number: int = 0) -> Fingerprint:
    return replace(fingerprint, raw=replace(fingerprint.raw, offset=1_000 + number))


def test_verdicts_are_told_in_full() -> None:
    sent = published(Memory(), [seen("a", "one"), seen("b", "one", feed="south")])

    verdict = recalled(sent).verdict(sent[1].fingerprint.raw, sent[1].fingerprint.story)

    assert verdict == Verdict(
        kind=VerdictKind.COPY,
        story=key("a", 64),
        version=1,
        first_seen=NOW,
        independent_sources=2,
        copies=1,
        matched_by="text",
        original_publisher="north.example",
    )
