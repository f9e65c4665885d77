"""
What published verdicts say of the past: the way back from the log to the judge's memory, for a seen store that lost it.

Pure, one published verdict at a time, over the same Lookup as the judge. It asks that all versions of a story come
before what repeats or copies them, and in order; duplicates of one story in order too. So a store reads `enriched` to
its end, then `duplicates`. What the log no longer holds cannot come back: docs/operations.md says what that is.
"""

from __future__ import annotations

from dataclasses import replace

from worker.records import Fingerprint, Published, Verdict, VerdictKind
from worker.stages.judge import (
    MAX_SOURCES,
    MAX_TEXTS,
    Judgement,
    Lookup,
    StoryState,
    keys_of,
    place_of,
    shown_after,
)

UNNAMED = ""
"""Stands among a story's sources for one whose name the log no longer tells, so that the count stays right."""


def recall(published: Published, look: Lookup) -> Judgement:
    """Return the verdict and what is to be remembered with it."""
    if published.verdict.kind in (VerdictKind.NEW, VerdictKind.UPDATE):
        return _version(published, look)
    if published.verdict.story == published.fingerprint.story:
        return _own_repeat(published, look)
    return _of_another(published, look)


def _version(published: Published, look: Lookup) -> Judgement:
    """Recall a version; one that is behind what is known (a replay's) changes nothing."""
    fingerprint, verdict = published.fingerprint, published.verdict
    known = look.story(verdict.story)
    if known is not None and known.version >= verdict.version:
        return Judgement(verdict=verdict, stories=(known,), owners=_claims(fingerprint, known, look))
    if known is None or not known.version:
        known = _story(verdict, publisher=fingerprint.publisher)
    known = replace(
        known,
        version=verdict.version,
        copies=max(known.copies, verdict.copies),
        sources=_sources(known.sources, None, verdict),
        shown=shown_after(known, fingerprint),
        texts=(*known.texts, (fingerprint.text_state, place_of(fingerprint)))[-MAX_TEXTS:],
    )
    return Judgement(verdict=verdict, stories=(known,), owners=_claims(fingerprint, known, look))


def _own_repeat(published: Published, look: Lookup) -> Judgement:
    """Recall that a story was shown again: the text is its feed's last one, unless a later version came from there."""
    fingerprint, verdict = published.fingerprint, published.verdict
    mine = _original(verdict, look)
    if verdict.version >= _last_from(mine, place_of(fingerprint)):
        mine = replace(mine, shown=shown_after(mine, fingerprint))
    return Judgement(verdict=verdict, stories=(mine,), owners=_claims(fingerprint, mine, look))


def _of_another(published: Published, look: Lookup) -> Judgement:
    """Recall that a story repeated or copied another."""
    fingerprint, verdict = published.fingerprint, published.verdict
    copied = verdict.kind is VerdictKind.COPY
    original = _original(verdict, look)
    if copied:
        original = replace(original, sources=_sources(original.sources, fingerprint.publisher, verdict))
    owners = _claims(fingerprint, original, look)
    mine = look.story(fingerprint.story)
    if mine is not None and mine.version:  # it stood alone later
        return Judgement(verdict=verdict, stories=(original,), owners=owners)
    if mine is None:
        mine = StoryState(story=fingerprint.story, version=0, first_seen=published.at, publisher=fingerprint.publisher)
    mine = replace(
        mine,
        original=original.story,
        counted=copied or (mine.counted and mine.original == original.story),
        shown=shown_after(mine, fingerprint),
    )
    return Judgement(verdict=verdict, stories=(mine, original), owners=owners)


def _original(verdict: Verdict, look: Lookup) -> StoryState:
    """Return the story spoken of, with what the verdict tells of it where the log has nothing better."""
    known = look.story(verdict.story)
    if known is None or not known.version:
        known = _story(verdict, publisher=verdict.original_publisher or UNNAMED)
    return replace(
        known,
        version=max(known.version, verdict.version),
        copies=max(known.copies, verdict.copies),
        sources=_sources(known.sources, None, verdict),
    )


def _story(verdict: Verdict, *, publisher: str) -> StoryState:
    return StoryState(
        story=verdict.story,
        version=verdict.version,
        first_seen=verdict.first_seen,
        publisher=publisher,
        sources=(publisher,),
    )


def _sources(known: tuple[str, ...], publisher: str | None, verdict: Verdict) -> tuple[str, ...]:
    """Return *known* and *publisher*, as many as the verdicts counted: some may have to stay unnamed."""
    count = min(MAX_SOURCES, max(len(known), verdict.independent_sources))
    named = [name for name in known if name != UNNAMED]
    if publisher is not None and publisher not in named and len(named) < count:
        named.append(publisher)
    return (*named, *(UNNAMED,) * (count - len(named)))


def _last_from(mine: StoryState, place: str) -> int:
    """Return the last version that *place* brought, as far as it is known; else 0."""
    behind = next((n for n, (_, bringer) in enumerate(reversed(mine.texts)) if bringer == place), None)
    return 0 if behind is None else mine.version - behind


def _claims(fingerprint: Fingerprint, claimant: StoryState, look: Lookup) -> dict[str, str]:
    """Return the owner of each key: of two stories that had it the one that was seen first."""
    claims = {}
    for _, key in keys_of(fingerprint):
        owner = look.owner(key)
        holder = None if owner is None else look.story(owner)
        earlier = holder is not None and holder.first_seen <= claimant.first_seen
        claims[key] = holder.story if holder is not None and earlier else claimant.story
    return claims
