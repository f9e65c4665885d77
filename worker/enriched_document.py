"""
The enriched record as subscribers read it: typed, strict, and the source of its JSON Schema.

worker/ninjs.py writes what this reads.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from worker.outside import UtcTime
from worker.records import BodyRights


class _Outside(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Absent instead of null; unknown fields are allowed, so that later releases may add some."""


class Region(_Outside):
    code: str
    about: bool
    relevance: int


class Pair(_Outside):
    code: str
    relevance: int
    type: str | msgspec.UnsetType = msgspec.UNSET


class Topic(_Outside):
    slug: str
    relevance: int
    confidence: int


class EvidenceSpan(_Outside):
    """Offsets count Unicode code points of the published title (`headlines`) or body; `text` repeats the span."""

    tag: str
    field: Literal["title", "body"]
    start: int
    end: int
    text: str
    rule: str


class VerdictOut(_Outside):
    kind: Literal["new", "update"]
    version: int
    story: str
    independent_sources: int
    copies: int


class Times(_Outside):
    fetched: UtcTime
    first_seen: UtcTime
    enriched: UtcTime
    claimed: UtcTime | msgspec.UnsetType = msgspec.UNSET


class RightsOut(_Outside):
    body: BodyRights
    usage_terms: str | msgspec.UnsetType = msgspec.UNSET


class Cut(_Outside):
    field: str
    original_length: int


class Provenance(_Outside):
    feed: str
    rights: RightsOut
    fetch: Literal["feed", "page"]
    extraction: str
    taxonomy: str
    worker: str
    link: str | msgspec.UnsetType = msgspec.UNSET
    labels: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    truncated: tuple[Cut, ...] = ()
    flags: tuple[str, ...] = ()
    tags_failed: tuple[str, ...] = ()
    reprocessed: bool = False


class Extension(_Outside):
    """The property `dateline`: what most subscribers read."""

    regions: tuple[Region, ...]
    pairs: tuple[Pair, ...]
    topics: tuple[Topic, ...]
    evidence: tuple[EvidenceSpan, ...]
    verdict: VerdictOut
    times: Times
    provenance: Provenance


class Text(_Outside):
    value: str


class AltId(_Outside):
    role: str
    value: str


class Source(_Outside):
    name: str
    role: str | msgspec.UnsetType = msgspec.UNSET


class Place(_Outside):
    name: str
    rel: str
    literal: str
    uri: str | msgspec.UnsetType = msgspec.UNSET


class EnrichedDocument(_Outside):
    """An enriched record as read back: the parts that our own commands need."""

    uri: str
    version: str
    version_created: UtcTime
    language: str
    dateline: Extension
    headlines: tuple[Text, ...] = ()
    bodies: tuple[Text, ...] = ()
    info_sources: tuple[Source, ...] = ()
    alt_ids: tuple[AltId, ...] = ()
    places: tuple[Place, ...] = ()
