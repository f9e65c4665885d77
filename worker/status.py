"""What a process shows of itself: the values of the status page, as `/status.json` gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime

import msgspec

from worker.enriched_document import EnrichedDocument
from worker.ninjs import published_body
from worker.records import Enriched, Evidence, PairTag, PlaceTag, RegionTag, Tags, TopicTag

MAX_STORIES = 200
"""So many of the last stories a process keeps."""
LEAD_CHARS = 360
"""So much of a body is kept with a story."""


class _Shown(msgspec.Struct, rename="camel", kw_only=True, frozen=True):
    """Written to JSON; nothing of ours reads it back."""


class StoryView(_Shown, frozen=True):
    """One committed story, short."""

    number: int
    """Rises by one with each story of this process."""
    story: str
    version: int
    kind: str
    """`new` or `update`."""
    title: str
    lead: str
    """The beginning of the body, as far as the feed's rights let it be published."""
    length: int
    """Of the published body, in code points."""
    link: str | None
    feed: str
    language: str
    first_seen: datetime
    enriched_at: datetime
    published_at: datetime | None = None
    """What the publisher claims."""
    tags: Tags = Tags()
    routes: tuple[str, ...] = ()
    sources: int = 1
    copies: int = 0


class Counter(_Shown, frozen=True):
    """Something that is counted, since the process started."""

    name: str
    total: int
    per_second: float | None = None
    """Over the last seconds; None: not known yet."""


class PartitionLag(_Shown, frozen=True):
    """A partition of the input."""

    partition: int
    lag: int | None = None
    """Records behind the group's committed offset; None: not known yet."""


class FeedHealth(_Shown, frozen=True):
    """One feed, as the poller sees it."""

    feed: str
    state: str
    """`ok`, `failing` or `not polled yet`."""
    failures: int = 0
    last_success_at: datetime | None = None
    last_new_at: datetime | None = None
    next_poll_at: datetime | None = None
    last_error: str | None = None


class Feeds(_Shown, frozen=True):
    """The feeds of a poller: the worst of them, and how many there are in all."""

    total: int
    failing: int
    shown: tuple[FeedHealth, ...] = ()


class Status(_Shown, frozen=True):
    """All that one process shows."""

    process: str
    version: str
    boot: str
    """Another one after each start: numbers of stories mean nothing beyond it."""
    started_at: datetime
    at: datetime
    reasons: tuple[str, ...] = ()
    """Why it is not ready; empty when it is."""
    counters: tuple[Counter, ...] = ()
    partitions: tuple[PartitionLag, ...] | None = None
    """None: this process reads no partitions."""
    feeds: Feeds | None = None
    """None: this process polls no feeds."""
    stories: tuple[StoryView, ...] | None = None
    """The newest first. None: this process sees none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryFilter:
    """Which stories are asked for; an empty string asks for all."""

    region: str = ""
    pair: str = ""
    topic: str = ""
    language: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> StoryFilter:
        """Return what the parameters of an address ask for; what is too long to be a tag is cut."""
        return cls(**{name: query.get(name, "")[:64] for name in FILTERS})

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in FILTERS)

    def admits(self, story: StoryView) -> bool:
        """Tell whether *story* has all that is asked for."""
        return all(
            not wanted or wanted in _values(story, name)
            for name in FILTERS
            if (wanted := getattr(self, name)) is not None
        )


FILTERS = tuple(field.name for field in fields(StoryFilter))


def choices(stories: Iterable[StoryView], name: str) -> tuple[str, ...]:
    """Return the values that *stories* have for the filter *name*, sorted."""
    return tuple(sorted({value for story in stories for value in _values(story, name)}))


def _values(story: StoryView, name: str) -> Iterable[str]:
    match name:
        case "region":
            return [tag.code for tag in story.tags.regions]
        case "pair":
            return [tag.code for tag in story.tags.pairs]
        case "topic":
            return [tag.slug for tag in story.tags.topics]
    return [story.language]


def of_enriched(story: Enriched, routes: Iterable[str], number: int) -> StoryView:
    """Return what is shown of *story*; called for each one that goes out, so it only picks."""
    article, verdict = story.article, story.verdict
    body = published_body(article)
    tags = story.tags
    if len(body) < len(article.body):
        # As in the published record: no evidence of what may not be published.
        tags = replace(tags, evidence=tuple(e for e in tags.evidence if e.field != "body" or e.end <= len(body)))
    return StoryView(
        number=number,
        story=verdict.story,
        version=verdict.version,
        kind=verdict.kind,
        title=article.title,
        lead=body[:LEAD_CHARS],
        length=len(body),
        link=article.link,
        feed=article.feed.id,
        language=article.language,
        first_seen=verdict.first_seen,
        enriched_at=story.enriched_at,
        published_at=article.published_at,
        tags=tags,
        routes=tuple(routes),
        sources=verdict.independent_sources,
        copies=verdict.copies,
    )


def of_document(document: EnrichedDocument, routes: Iterable[str], number: int) -> StoryView:
    """Return the same of an enriched record that was read back."""
    said = document.dateline
    body = document.bodies[0].value if document.bodies else ""
    claimed = said.times.claimed
    return StoryView(
        number=number,
        story=said.verdict.story,
        version=said.verdict.version,
        kind=said.verdict.kind,
        title=document.headlines[0].value if document.headlines else "",
        lead=body[:LEAD_CHARS],
        length=len(body),
        link=next((each.value for each in document.alt_ids if each.role == "link"), None),
        feed=said.provenance.feed,
        language=document.language,
        first_seen=said.times.first_seen,
        enriched_at=said.times.enriched,
        published_at=None if claimed is msgspec.UNSET else claimed,
        tags=_tags(document),
        routes=tuple(routes),
        sources=said.verdict.independent_sources,
        copies=said.verdict.copies,
    )


def _tags(document: EnrichedDocument) -> Tags:
    said = document.dateline
    return Tags(
        regions=tuple(RegionTag(code=tag.code, about=tag.about, relevance=tag.relevance) for tag in said.regions),
        places=tuple(
            PlaceTag(name=place.name, geoname=place.literal, country="", about=place.rel == "about")
            for place in document.places
        ),
        pairs=tuple(
            PairTag(code=tag.code, type=None if tag.type is msgspec.UNSET else tag.type, relevance=tag.relevance)
            for tag in said.pairs
        ),
        topics=tuple(
            TopicTag(slug=tag.slug, relevance=tag.relevance, confidence=tag.confidence) for tag in said.topics
        ),
        evidence=tuple(
            Evidence(tag=each.tag, field=each.field, start=each.start, end=each.end, text=each.text, rule=each.rule)
            for each in said.evidence
        ),
        failed=said.provenance.tags_failed,
    )
