"""
Is it new? Each article gets one verdict: new, an update, a repeat, or a copy of a story already sent.

The whole decision is here and is pure; the seen stores only make it atomic. `judge` reads through `Lookup` and says
what is to be remembered; `Memory` is a Lookup of plain dictionaries that a store fills for one batch, so that later
articles of the batch see the earlier. Keys are opaque to the stores (`keys_of`), so that further ways to nominate an
original (bands of near copies) join as further keys and one more method of Lookup, without a change to the port.
Only the same story id can be an update; another link with the same text is a copy. Why: docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from worker.records import Coordinates, Fingerprint, Verdict, VerdictKind

MAX_SOURCES = 64
"""Publishers remembered of one story; more are not counted."""
MAX_SHOWN = 32
"""Feeds (and bases) whose last text is remembered of one story; the one unseen for longest is forgotten first."""
MAX_TEXTS = 8
"""Versions whose text is remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryState:
    """What is remembered of one story id."""

    story: str
    version: int
    """Of the story's own; 0 while it only repeats or copies `original`."""
    first_seen: datetime
    publisher: str
    """Who brought it first."""
    sources: tuple[str, ...] = ()
    """Publishers of the story and of its copies, at most MAX_SOURCES."""
    copies: int = 0
    original: str | None = None
    """The story that this one repeats or copies: always one with a version of its own."""
    counted: bool = False
    """Whether it is among the copies of `original`."""
    shown: Mapping[str, str] = field(default_factory=dict)
    """By feed and basis: the text state last seen there."""
    texts: tuple[tuple[str, str], ...] = ()
    """Of the last versions, oldest first: the text state, and the feed and basis that brought it."""


class Lookup(Protocol):
    """What the judge may ask of the past."""

    def verdict(self, raw: Coordinates, story: str) -> Verdict | None:
        """
        Return the verdict that this raw record of *story* had.

        None when another story lay at its place: the log, or the topic, was made anew and counts from 0 again.
        """

    def story(self, story: str) -> StoryState | None: ...

    def owner(self, key: str) -> str | None:
        """Return the story that holds a key of `keys_of`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A verdict and what is to be remembered with it, in one piece; nothing when the raw record had its verdict."""

    verdict: Verdict
    stories: tuple[StoryState, ...] = ()
    owners: Mapping[str, str] = field(default_factory=dict)
    """By key: the story that holds it from now on."""
    stored: bool = False
    """The verdict was given before."""


def keys_of(fingerprint: Fingerprint) -> Iterator[tuple[str, str]]:
    """Yield (name for `matched_by`, key) of each key that can show that another story is meant; the surest first."""
    if fingerprint.origin_key is not None:
        yield "story", "o" + fingerprint.origin_key
    if fingerprint.link_key is not None:
        yield "link", "l" + fingerprint.link_key
    if fingerprint.guid_key is not None:
        yield "guid", "g" + fingerprint.guid_key
    if fingerprint.copy_key is not None:
        yield "text", "t" + fingerprint.copy_key


def judge(fingerprint: Fingerprint, look: Lookup, *, now: datetime) -> Judgement:
    """Return the verdict on one article, given all that was judged before it."""
    stored = look.verdict(fingerprint.raw, fingerprint.story)
    if stored is not None:
        return Judgement(verdict=stored, stored=True)
    if fingerprint.origin_key is not None:
        sent = _root(look, look.owner("o" + fingerprint.origin_key))
        if sent is not None:  # a dead letter's second chance was used, whatever its story has become since
            return _repeat(fingerprint, sent, look, matched_by="story")
    mine = look.story(fingerprint.story)
    if mine is None:
        return _unknown(fingerprint, look, now)
    if mine.version:
        return _known(fingerprint, mine, look)
    original = None if mine.original is None else look.story(mine.original)
    if original is None:  # the store lost it; what is left of this story proves nothing
        return _unknown(fingerprint, look, now)
    return _known_as_copy(fingerprint, mine, original, look, now)


def _known(fingerprint: Fingerprint, mine: StoryState, look: Lookup) -> Judgement:
    """Judge a story with a version of its own: an update when this feed's text changed, as it was not yet sent."""
    place, text = place_of(fingerprint), fingerprint.text_state
    last = mine.shown.get(place)
    mine = replace(mine, shown=shown_after(mine, fingerprint))
    if last is None or last == text or _already_sent(mine, place, text):
        return _repeat(fingerprint, mine, look, matched_by="story")
    mine = replace(mine, version=mine.version + 1, texts=(*mine.texts, (text, place))[-MAX_TEXTS:])
    verdict = Verdict(
        kind=VerdictKind.UPDATE,
        story=mine.story,
        version=mine.version,
        first_seen=mine.first_seen,
        independent_sources=len(mine.sources),
        copies=mine.copies,
        matched_by="story",
    )
    return Judgement(verdict=verdict, stories=(mine,), owners=_claims(fingerprint, mine.story, look))


def _already_sent(mine: StoryState, place: str, text: str) -> bool:
    """
    Tell whether the changed *text* went out as a version: it is the latest, or another feed brought it.

    A publisher's second feed shows each edit a little later than the first; that is one update, not two.
    A feed that goes back to its own earlier text has changed again.
    """
    if not mine.texts:
        return False
    bringers = [bringer for sent, bringer in mine.texts if sent == text]
    return mine.texts[-1][0] == text or bool(bringers and place not in bringers)


def _known_as_copy(
    fingerprint: Fingerprint, mine: StoryState, original: StoryState, look: Lookup, now: datetime
) -> Judgement:
    """Judge a story that so far only repeated or copied another: with a text of its own it begins to stand alone."""
    last = mine.shown.get(place_of(fingerprint))
    mine = replace(mine, shown=shown_after(mine, fingerprint))
    if last is None or last == fingerprint.text_state:
        return _repeat(fingerprint, original, look, matched_by="story", alias=mine)
    key = fingerprint.copy_key
    owner = None if key is None else _root(look, look.owner("t" + key))
    if owner is None:
        return _new(fingerprint, look, now)
    if owner.story == original.story and not mine.counted:  # the same link or GUID, behind its original for a while
        return _repeat(fingerprint, original, look, matched_by="text", alias=mine)
    return _copy(fingerprint, mine, owner, look)


def _unknown(fingerprint: Fingerprint, look: Lookup, now: datetime) -> Judgement:
    """Judge a story id that was never seen: its keys may show that it is another's."""
    for name, key in keys_of(fingerprint):
        owner = _root(look, look.owner(key))
        if owner is None or owner.story == fingerprint.story:
            continue
        if name == "text" and _only_boilerplate(fingerprint, owner):
            continue
        mine = StoryState(
            story=fingerprint.story,
            version=0,
            first_seen=now,
            publisher=fingerprint.publisher,
            original=owner.story,
            shown={place_of(fingerprint): fingerprint.text_state},
        )
        if name == "text":
            return _copy(fingerprint, mine, owner, look)
        return _repeat(fingerprint, owner, look, matched_by=name, alias=mine)
    return _new(fingerprint, look, now)


def _only_boilerplate(fingerprint: Fingerprint, owner: StoryState) -> bool:
    """
    Tell whether the text may be shared by all that its publisher sends: one body under two titles and two links.

    A reprint has another publisher, and a story sent twice has its title again. When unsure the answer is "new".
    """
    titled_alike = any(text == fingerprint.text_state for text, _ in owner.texts)
    return fingerprint.publisher == owner.publisher and not titled_alike


def _new(fingerprint: Fingerprint, look: Lookup, now: datetime) -> Judgement:
    place = place_of(fingerprint)
    mine = StoryState(
        story=fingerprint.story,
        version=1,
        first_seen=now,
        publisher=fingerprint.publisher,
        sources=(fingerprint.publisher,),
        shown={place: fingerprint.text_state},
        texts=((fingerprint.text_state, place),),
    )
    verdict = Verdict(kind=VerdictKind.NEW, story=mine.story, version=1, first_seen=now)
    return Judgement(verdict=verdict, stories=(mine,), owners=_claims(fingerprint, mine.story, look))


def _copy(fingerprint: Fingerprint, mine: StoryState, original: StoryState, look: Lookup) -> Judgement:
    """Say that *mine* copies *original*, and count it there once."""
    if not (mine.counted and mine.original == original.story):
        sources = original.sources
        if fingerprint.publisher not in sources and len(sources) < MAX_SOURCES:
            sources = (*sources, fingerprint.publisher)
        original = replace(original, copies=original.copies + 1, sources=sources)
    mine = replace(mine, original=original.story, counted=True)
    return Judgement(
        verdict=_of_original(VerdictKind.COPY, original, matched_by="text"),
        stories=(mine, original),
        owners=_claims(fingerprint, original.story, look),
    )


def _repeat(
    fingerprint: Fingerprint, story: StoryState, look: Lookup, *, matched_by: str, alias: StoryState | None = None
) -> Judgement:
    """Say that nothing new was said of *story*; all that it rests on is written again, so that it does not expire."""
    return Judgement(
        verdict=_of_original(VerdictKind.REPEAT, story, matched_by=matched_by),
        stories=(story,) if alias is None else (alias, story),
        owners=_claims(fingerprint, story.story, look),
    )


def _of_original(kind: VerdictKind, original: StoryState, *, matched_by: str) -> Verdict:
    return Verdict(
        kind=kind,
        story=original.story,
        version=original.version,
        first_seen=original.first_seen,
        independent_sources=len(original.sources),
        copies=original.copies,
        matched_by=matched_by,
        original_publisher=original.publisher,
    )


def _claims(fingerprint: Fingerprint, story: str, look: Lookup) -> dict[str, str]:
    """Return the owner of each key of the article: who holds it already, else *story*."""
    claims = {}
    for _, key in keys_of(fingerprint):
        owner = look.owner(key)
        claims[key] = story if owner is None or look.story(owner) is None else owner
    return claims


def _root(look: Lookup, story: str | None) -> StoryState | None:
    """Return the story with a version of its own that *story* stands for, if the store still knows it."""
    state = None if story is None else look.story(story)
    if state is not None and not state.version and state.original is not None:
        state = look.story(state.original)
    return state if state is not None and state.version else None


def place_of(fingerprint: Fingerprint) -> str:
    """Name the feed and the basis: like is compared with like. Feed ids hold no slash."""
    return f"{fingerprint.feed}/{fingerprint.basis}"


def shown_after(state: StoryState, fingerprint: Fingerprint) -> dict[str, str]:
    """Return what each feed and basis showed last, now that *fingerprint* was seen."""
    shown = dict(state.shown)
    shown.pop(place_of(fingerprint), None)
    shown[place_of(fingerprint)] = fingerprint.text_state
    while len(shown) > MAX_SHOWN:
        del shown[next(iter(shown))]
    return shown


@dataclass(slots=True)
class Memory:
    """A Lookup of plain dictionaries. What `judge` changes is found in `changed_…` too, for a store to write."""

    verdicts: dict[Coordinates, tuple[str, Verdict]] = field(default_factory=dict)
    """With the story id of the raw record itself, the beginning of which may do."""
    stories: dict[str, StoryState] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    changed_verdicts: dict[Coordinates, tuple[str, Verdict]] = field(default_factory=dict)
    changed_stories: dict[str, StoryState] = field(default_factory=dict)
    changed_owners: dict[str, str] = field(default_factory=dict)

    def verdict(self, raw: Coordinates, story: str) -> Verdict | None:
        own, verdict = self.verdicts.get(raw, (story, None))
        return verdict if story.startswith(own) else None

    def story(self, story: str) -> StoryState | None:
        return self.stories.get(story)

    def owner(self, key: str) -> str | None:
        return self.owners.get(key)

    def judge(self, fingerprint: Fingerprint, *, now: datetime) -> Verdict:
        """Judge one article and remember what follows, so that the next one sees it."""
        judgement = judge(fingerprint, self, now=now)
        if not judgement.stored:
            self.remember(fingerprint, judgement)
        return judgement.verdict

    def remember(self, fingerprint: Fingerprint, judgement: Judgement, *, verdict: bool = True) -> None:
        """Take over what follows from *judgement*; without *verdict* only what later ones need."""
        if verdict:
            given = (fingerprint.story, judgement.verdict)
            self.verdicts[fingerprint.raw] = self.changed_verdicts[fingerprint.raw] = given
        for state in judgement.stories:
            self.stories[state.story] = self.changed_stories[state.story] = state
        self.owners.update(judgement.owners)
        self.changed_owners.update(judgement.owners)
