"""
The values that flow through Dateline, in the order of an article's way.

FeedEntry -> RawArticle -> Article -> Fingerprint -> Verdict -> Tags -> Enriched; or Duplicate, or Rejected.
All are frozen; times are aware UTC datetimes; texts are NFC. How they look outside: worker/wire.py, docs/records.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec

StoryId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
Short = Annotated[str, msgspec.Meta(max_length=1_000)]
FeedId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$(?!\n)")]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Coordinates:
    """Where a record lies in the log."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """Return the form of the `raw` header: topic/partition/offset."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class BodyRights(StrEnum):
    """How much of a body may be published."""

    FULL = "full"
    EXCERPT = "excerpt"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What the owner of a feed allows; put on every record made from it."""

    body: BodyRights = BodyRights.FULL
    usage_terms: Annotated[str, msgspec.Meta(max_length=10_000)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedInfo:
    """The configured facts about a feed that travel with each of its articles."""

    id: FeedId
    """Configured id: letters, digits, `.`, `_`, `-`; the only feed name that may become a metric label."""
    url: Annotated[str, msgspec.Meta(max_length=4_096)] | None = None
    title: Short | None = None
    language: Short | None = None
    """BCP 47, as configured or as the feed states it: a prior, not a verdict."""
    labels: Annotated[Mapping[Short, Short], msgspec.Meta(max_length=64)] = field(default_factory=dict)
    rights: Rights = field(default_factory=Rights)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncation:
    """A text that was cut to a size limit."""

    field: str
    original_length: int
    """In Unicode code points, before the cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The web page behind an entry's link, as fetched."""

    url: str
    """Where the last redirect led."""
    html: str
    fetched_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedEntry:
    """One entry of a feed's document, understood but not changed."""

    title: str | None = None
    link: str | None = None
    """Absolute, http or https."""
    guid: str | None = None
    summary: str | None = None
    """HTML or plain text, untouched; so is content."""
    content: str | None = None
    language: str | None = None
    published: str | None = None
    """As the feed writes it; so is updated."""
    published_at: datetime | None = None
    updated: str | None = None
    updated_at: datetime | None = None
    authors: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict)
    truncated: tuple[Truncation, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RawArticle:
    """One entry as its feed gave it, and its page if that was fetched: the value of `news.raw`."""

    story: StoryId
    """Story id: SHA-256, 64 hex digits, of the canonical link, else feed id + GUID, else normalised text; the key."""
    feed: FeedInfo
    fetched_at: datetime
    title: str | None = None
    link: str | None = None
    """Absolute http(s) link as the feed gave it."""
    canonical_link: str | None = None
    """The same without tracking parameters and fragment; what the story id is made of."""
    guid: str | None = None
    """None where the feed gives none, or gives one GUID to several links."""
    summary: str | None = None
    """HTML or plain text, untouched."""
    content: str | None = None
    """HTML or plain text, untouched."""
    language: str | None = None
    published: str | None = None
    """As the feed writes it."""
    published_at: datetime | None = None
    """The same, understood; None where it is absent or makes no sense: never guessed."""
    updated: str | None = None
    updated_at: datetime | None = None
    authors: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    """All else that the feed gave for this entry, as JSON values."""
    page: Page | None = None
    truncated: tuple[Truncation, ...] = ()
    flags: tuple[str, ...] = ()
    """What was odd and mended: `link-dropped`, `guid-shared`, `charset-guessed`, …"""


class Basis(StrEnum):
    """Which text an article was made of; versions are compared within one basis only."""

    FEED = "feed"
    PAGE = "page"


@dataclass(frozen=True, slots=True, kw_only=True)
class Article:
    """A raw article after extraction: plain text, real dates, a language."""

    story: str
    feed: FeedInfo
    title: str
    """Plain NFC text on one line; may be empty when a body is there."""
    body: str
    """Plain NFC text, paragraphs separated by newlines; at most extract.MAX_BODY characters."""
    basis: Basis
    extraction: str
    """What made the body: `text`, `html`, `page`, `page-fallback`, `none`."""
    language: str
    """ISO 639-1 code, or `und`."""
    link: str | None
    canonical_link: str | None
    guid: str | None
    fetched_at: datetime
    published_at: datetime | None
    authors: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    truncated: tuple[Truncation, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A raw record that can have no verdict; it goes to the dead letters with its bytes."""

    reason: str
    """One of wire.REASONS: a metric label and a header."""
    detail: str = ""
    """For a person, at most 1 KiB, without line breaks."""
    stage: str = "decode"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What the judge needs to know of an article. All keys are 32 hex digits (128 bits)."""

    raw: Coordinates
    story: str
    feed: str
    publisher: str
    """Who answers for the text: the feed's label `publisher`, else the host of the link, else the feed id."""
    basis: Basis
    text_state: str
    """Title and body without case, space, punctuation and counters: another value = really changed text."""
    link_key: str | None
    guid_key: str | None
    """Of feed id and GUID together."""
    copy_key: str | None
    """Of the text alone, equal for the same text under another link; None when the text is too short to prove that."""
    origin_key: str | None = None
    """Of a dead letter sent again: where it lay first, and its bytes. None for all else."""


class VerdictKind(StrEnum):
    """What the judge may say."""

    NEW = "new"
    UPDATE = "update"
    REPEAT = "repeat"
    COPY = "copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judge's complete answer on one raw record; it never changes afterwards."""

    kind: VerdictKind
    story: str
    """The story spoken of: its own for new and update; the original's for repeat and copy."""
    version: int
    """Of that story, 1 for new; for repeat and copy the version known then."""
    first_seen: datetime
    """When that story had its first verdict."""
    independent_sources: int = 1
    copies: int = 0
    matched_by: str | None = None
    """`story`, `link`, `guid` or `text`: which key decided; None for new."""
    original_publisher: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A verdict that went out, and on what it was given: a lost seen store is rebuilt of these."""

    fingerprint: Fingerprint
    verdict: Verdict
    at: datetime
    """When it was written."""
    routes: tuple[str, ...] | None = None
    """On which a version went out; None: of no matter."""
    may_come_again: bool = False
    """Whether the raw record may be read again, so that its verdict must be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """One place in a text that names a country, or a place within it."""

    field: str
    """`title` or `body`."""
    start: int
    end: int
    """Code points, end exclusive."""
    text: str
    codes: tuple[str, ...]
    """ISO 3166-1 alpha-2; several only for a pair abbreviation."""
    rule: str
    """For evidence: `country.en`, `demonym.ko`, `capital.ja`, `city`, `division`, `leader.zh`, `pair`, …"""
    weight: float = 1.0
    """How much this mention says that the text is about the country, 0–1; 0 for a dateline."""
    place: str | None = None
    """GeoNames id of the place, when it is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionTag:
    """A country that the text names."""

    code: str
    about: bool
    """False: only mentioned."""
    relevance: int
    """0–100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceTag:
    """A city or first-level division that the text names."""

    name: str
    """English name."""
    geoname: str
    """GeoNames id, or a code of ours where GeoNames has none."""
    country: str
    about: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTag:
    """A relation of two countries that the text is about."""

    code: str
    """Alphabetical: CN-KP."""
    type: str | None
    """labour, trade, military, diplomacy, sanctions, …; None when no cue tells."""
    relevance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicTag:
    """A topic of the taxonomy that is a real subject of the text."""

    slug: str
    relevance: int
    confidence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Why a tag was given: a span of the title or body."""

    tag: str
    """`region:CN`, `place:2037013`, `pair:CN-KP`, `topic:sanctions`."""
    field: str
    start: int
    end: int
    text: str
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """All that is said of one article's content."""

    regions: tuple[RegionTag, ...] = ()
    places: tuple[PlaceTag, ...] = ()
    pairs: tuple[PairTag, ...] = ()
    topics: tuple[TopicTag, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    failed: tuple[str, ...] = ()
    """Taggers that raised and were left out: `regions`, `pairs`, `topics`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enriched:
    """A story's version with everything known of it: the value of `news.enriched` and of the routes."""

    article: Article
    verdict: Verdict
    tags: Tags
    enriched_at: datetime
    taxonomy: str
    """Version of the taxonomy that made the tags."""
    raw: Coordinates
    reprocessed: bool = False
    """Made by a replay."""
    fingerprint: Fingerprint | None = None
    """What the verdict was given on; None where nobody asked a seen store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """A raw record that says nothing new: the value of `news.duplicates`."""

    story: str
    """Story id of the copy."""
    original: str
    kind: VerdictKind
    matched_by: str
    similarity: int
    """0–100; 100 for equal keys."""
    version: int
    feed: str
    publisher: str
    judged_at: datetime
    original_publisher: str | None = None
    title: str | None = None
    link: str | None = None
    language: str | None = None
    published_at: datetime | None = None
    reprocessed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrouted:
    """Says on a route's topic that the story's latest version no longer belongs there."""

    story: str
    version: int
    """The version that left."""
    route: str
    unrouted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedState:
    """What the poller must not forget of a feed: the value of `news.feed-state`; at most 64 KiB outside."""

    feed: str
    url: str
    known: str = ""
    """Base64 of 16 bytes an entry, newest first: 8 of the entry's identity, 8 of its content."""
    body_hash: str | None = None
    """Of the last body read; the same body again holds nothing new."""
    etag: str | None = None
    last_modified: str | None = None
    moved_to: str | None = None
    next_poll_at: datetime | None = None
    last_success_at: datetime | None = None
    last_new_at: datetime | None = None
    failures: int = 0
    """In a row."""
    last_error: str | None = None
