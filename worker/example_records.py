"""
One record of each kind as wire.py writes it, for documentation: its times, names and numbers are fixed.

The headline holds an emoji and a rare Han character, which UTF-16 counts twice and the evidence once.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256

from worker import wire
from worker.enriching import TopicNames
from worker.ninjs import TopicName, Vocabulary
from worker.ports import LogRecord, NewRecord
from worker.records import (
    Article,
    Basis,
    BodyRights,
    Coordinates,
    Duplicate,
    Enriched,
    Evidence,
    FeedInfo,
    FeedState,
    Fingerprint,
    PairTag,
    RawArticle,
    RegionTag,
    Rejected,
    Rights,
    Tags,
    TopicTag,
    Unrouted,
    Verdict,
    VerdictKind,
)

_NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_LINK = "https://wire.example/stories/0042"
_STORY = sha256(_LINK.encode()).hexdigest()
_COPY = sha256(b"https://paper.example/0042").hexdigest()
_TITLE = "🚂 Trains from 𠮷林 to North Korea cross despite sanctions"
_BODY = "China sent two freight trains over the Yalu bridge, a railway official said."
_FEED = FeedInfo(
    id="example-wire",
    url="https://wire.example/rss",
    title="Example Wire",
    labels={"tier": "licensed"},
    rights=Rights(body=BodyRights.EXCERPT, usage_terms="Excerpts only, see contract 17."),
)


def example_records(topics: TopicNames, *, route: str, route_topic: str, taxonomy: str) -> dict[str, NewRecord]:
    """
    Return a record of each kind by the name of its schema, and `dead-letter`.

    *route*: the name of a route, on whose topic, *route_topic*, lies `unrouted`. *taxonomy*: its version.
    """
    raw = Coordinates(topic=topics.raw, partition=3, offset=1201)
    enriched = _enriched(raw, taxonomy)
    fingerprint = enriched.fingerprint or _fingerprint(raw, _STORY)
    unrouted = Unrouted(story=_STORY, version=3, route=route, unrouted_at=_NOW + timedelta(hours=2))
    return {
        "raw": wire.raw_record(_raw(), topic=topics.raw, now=_NOW),
        "enriched": wire.enriched_records(enriched, _VOCABULARY, topics=[topics.enriched], routes=[route])[0],
        "unrouted": wire.unrouted_record(unrouted, raw, topic=route_topic),
        "duplicates": _duplicate(fingerprint, topics),
        "dead-letter": _dead_letter(raw, topics),
        "feed-state": wire.feed_state_record(_FEED_STATE, topic=topics.feed_state, now=_NOW),
    }


_VOCABULARY = Vocabulary(
    version="example",
    countries={"CN": "China", "KP": "North Korea"},
    topics={"sanctions": TopicName(name="sanctions", uri="http://cv.iptc.org/newscodes/mediatopic/20000642")},
)
_FEED_STATE = FeedState(
    feed=_FEED.id,
    url="https://wire.example/rss",
    known="",
    etag='"33a64df5"',
    next_poll_at=_NOW + timedelta(minutes=5),
    last_success_at=_NOW,
    last_new_at=_NOW,
)


def _raw() -> RawArticle:
    return RawArticle(
        story=_STORY,
        feed=_FEED,
        fetched_at=_NOW,
        title=_TITLE,
        link=_LINK,
        canonical_link=_LINK,
        guid="wire-2026-03-01-0042",
        content=f"<p>{_BODY}</p>",
        language="en",
        published_at=_NOW - timedelta(minutes=4),
    )


def _evidence(tag: str, text: str, rule: str) -> Evidence:
    field, where = ("title", _TITLE) if text in _TITLE else ("body", _BODY)
    start = where.index(text)
    return Evidence(tag=tag, field=field, start=start, end=start + len(text), text=text, rule=rule)


def _enriched(raw: Coordinates, taxonomy: str) -> Enriched:
    given = _raw()
    return Enriched(
        article=Article(
            story=_STORY,
            feed=_FEED,
            title=_TITLE,
            body=_BODY,
            basis=Basis.FEED,
            extraction="html",
            language="en",
            link=_LINK,
            canonical_link=_LINK,
            guid=given.guid,
            fetched_at=_NOW,
            published_at=given.published_at,
        ),
        verdict=Verdict(kind=VerdictKind.UPDATE, story=_STORY, version=2, first_seen=_NOW - timedelta(hours=1)),
        tags=Tags(
            regions=(RegionTag(code="KP", about=True, relevance=94), RegionTag(code="CN", about=True, relevance=88)),
            pairs=(PairTag(code="CN-KP", type="trade", relevance=88),),
            topics=(TopicTag(slug="sanctions", relevance=61, confidence=80),),
            evidence=(
                _evidence("region:KP", "North Korea", "gazetteer"),
                _evidence("region:CN", "China", "gazetteer"),
                _evidence("topic:sanctions", "sanctions", "sanctions.en.1"),
            ),
        ),
        enriched_at=_NOW + timedelta(seconds=1),
        taxonomy=taxonomy,
        raw=raw,
        fingerprint=_fingerprint(raw, _STORY),
    )


def _fingerprint(raw: Coordinates, story: str) -> Fingerprint:
    return Fingerprint(
        raw=raw,
        story=story,
        feed=_FEED.id,
        publisher="wire.example",
        basis=Basis.FEED,
        text_state="0a" * 16,
        link_key="1b" * 16,
        guid_key=None,
        copy_key="2c" * 16,
    )


def _duplicate(first: Fingerprint, topics: TopicNames) -> NewRecord:
    raw = Coordinates(topic=topics.raw, partition=5, offset=877)
    verdict = Verdict(
        kind=VerdictKind.COPY,
        story=_STORY,
        version=2,
        first_seen=_NOW - timedelta(hours=1),
        matched_by="text",
        original_publisher=first.publisher,
    )
    duplicate = Duplicate(
        story=_COPY,
        original=_STORY,
        kind=verdict.kind,
        matched_by="text",
        similarity=100,
        version=verdict.version,
        feed="example-paper",
        publisher="paper.example",
        original_publisher=first.publisher,
        judged_at=_NOW + timedelta(minutes=7),
        title=_TITLE,
        link="https://paper.example/0042",
        language="en",
    )
    return wire.duplicate_record(duplicate, _fingerprint(raw, _COPY), verdict, topic=topics.duplicates)


def _dead_letter(raw: Coordinates, topics: TopicNames) -> NewRecord:
    """Return what becomes of a raw record without its time."""
    record = LogRecord(
        topic=raw.topic,
        partition=raw.partition,
        offset=raw.offset,
        timestamp_ms=0,
        key=_STORY.encode(),
        value=b'{"story": "' + _STORY.encode() + b'", "feed": {"id": "example-wire"}}',
        headers=(),
    )
    refused = wire.read_raw(record.value)
    if not isinstance(refused, Rejected):
        raise TypeError("the example of a dead letter is none")
    return wire.dead_letter_record(record, refused, topic=topics.dead_letter, now=_NOW)
