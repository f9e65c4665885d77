"""Tells whether each entry of the feeds came out as one new story. Shares no code with what it judges."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Set as AbstractSet

from tests.faults.oracle import Findings, Names, Seen, View


def links_in(view: View, topic: str) -> Counter[str]:
    """Return how often each link lies in the raw *topic*."""
    return Counter(_link(record) for record in view.records(topic))


def judge(view: View, names: Names, *, served: AbstractSet[str]) -> Findings:
    """
    Compare what was *served* (links) with the topics as they are now; pollers and workers should be done.

    An entry may lie in the raw topic more than once, for a poller repeats what it is not sure of: then all but one are
    duplicates of the kind `repeat`.
    """
    raw = {_place(names.raw, record): _link(record) for record in view.records(names.raw)}
    enriched, duplicates, dead = (
        view.records(topic) for topic in (names.enriched, names.duplicates, names.dead_letter)
    )
    stories = Counter(_story_link(record) for record in enriched)
    ends = Counter(record.headers.get("raw", b"?").decode() for record in (*enriched, *duplicates, *dead))
    lost = [f"{link}: not in {names.raw}" for link in sorted(served - set(raw.values()))]
    lost += [f"{link}: not in {names.enriched}" for link in sorted(set(raw.values()) - set(stories))]
    lost += [f"{place}: no end" for place in raw if place not in ends]
    doubled = [f"{link}: {count} times in {names.enriched}" for link, count in stories.items() if count > 1]
    doubled += [f"{place}: {count} ends" for place, count in ends.items() if count > 1]
    problems = [f"nobody served {link}" for link in sorted(set(raw.values()) - served)]
    problems += [f"an end without a raw record: {place}" for place in ends if place not in raw]
    problems += [f"{_story_link(each)} is {_kind(each)}, not new" for each in enriched if _kind(each) != "new"]
    problems += [f"{_place(names.duplicates, each)} is {_kind(each)}" for each in duplicates if _kind(each) != "repeat"]
    problems += [f"dead letter {_place(names.dead_letter, each)}" for each in dead]
    ends_of, committed = view.ends(names.raw), view.committed(names.group, names.raw)
    if ends_of != committed:
        problems.append(f"committed are {committed} of {ends_of}")
    problems += [f"open transaction: {each}" for each in view.open_transactions(names.identities)]
    return Findings(records=len(served), lost=tuple(lost), doubled=tuple(doubled), problems=tuple(problems))


def _place(topic: str, record: Seen) -> str:
    return f"{topic}/{record.partition}/{record.offset}"


def _link(record: Seen) -> str:
    return str(json.loads(record.value or b"{}").get("link"))


def _story_link(record: Seen) -> str:
    told = json.loads(record.value or b"{}")
    return str(told.get("link") or told.get("dateline", {}).get("provenance", {}).get("link"))


def _kind(record: Seen) -> str:
    return record.headers.get("kind", b"?").decode()
