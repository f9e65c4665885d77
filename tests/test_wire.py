"""The outside form: what is written validates and reads back equal; what is wrong gets a reason, not an exception."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest

from tests.make import FEED, NOW, article, as_read, enriched, raw_article, raw_record, story
from worker import schema, wire
from worker.ninjs import TopicName, Vocabulary
from worker.ports import LogRecord, NewRecord
from worker.records import (
    Basis,
    BodyRights,
    Coordinates,
    Duplicate,
    Evidence,
    FeedState,
    Fingerprint,
    Page,
    PairTag,
    PlaceTag,
    Published,
    RegionTag,
    Rejected,
    Rights,
    Tags,
    TopicTag,
    Truncation,
    Unrouted,
    Verdict,
    VerdictKind,
)

SCHEMAS = schema.schemas()
VOCABULARY = Vocabulary(
    version="1.0.0",
    countries={"CN": "China", "KP": "North Korea"},
    topics={"sanctions": TopicName(name="sanctions", uri="http://cv.iptc.org/newscodes/mediatopic/20000642")},
)
TAGS = Tags(
    regions=(RegionTag(code="CN", about=True, relevance=90), RegionTag(code="US", about=False, relevance=10)),
    places=(PlaceTag(name="Hunchun", geoname="2036458", country="CN", about=True),),
    pairs=(PairTag(code="CN-KP", type=None, relevance=80),),
    topics=(TopicTag(slug="sanctions", relevance=70, confidence=80),),
    evidence=(
        Evidence(tag="topic:sanctions", field="body", start=0, end=11, text="Delegations", rule="sanctions.en.1"),
    ),
)


COPY = Verdict(
    kind=VerdictKind.COPY,
    story=story("a"),
    version=3,
    first_seen=NOW,
    independent_sources=2,
    copies=4,
    matched_by="text",
    original_publisher="agency.example",
)


def fingerprint() -> Fingerprint:
    return Fingerprint(
        raw=Coordinates(topic="news.raw", partition=0, offset=1),
        story=story("b"),
        feed=FEED.id,
        publisher="wire.example.org",
        basis=Basis.FEED,
        text_state="0a" * 16,
        link_key="1b" * 16,
        guid_key=None,
        copy_key="2c" * 16,
    )


def validate(name: str, value: bytes | None) -> dict[str, Any]:
    """Return the JSON in *value* after checking it against the generated schema *name*."""
    assert value is not None
    document: dict[str, Any] = json.loads(value)
    jsonschema.Draft202012Validator(SCHEMAS[name]).validate(document)
    return document


def headers(record: NewRecord) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


def test_a_raw_article_comes_back_as_it_was_written() -> None:
    """All that the feed gave survives the log, with dates in UTC and texts untouched."""
    article = raw_article(
        language="ko",
        content="<p>본문</p>",
        authors=("Kim",),
        categories=("world",),
        extra={"media:content": [{"url": "https://x.example/1.jpg", "width": 640}]},
        page=Page(url="https://x.example/p", html="<html></html>", fetched_at=NOW),
        truncated=(Truncation(field="content", original_length=1_000_000),),
        flags=("guid-shared",),
        feed=replace(FEED, labels={"country": "KR"}, rights=Rights(body=BodyRights.EXCERPT, usage_terms="quote us")),
    )

    record = raw_record(article)

    validate("raw", record.value)
    assert wire.decode_raw(as_read(record)) == article
    assert record.key == article.story.encode()


def test_what_is_absent_is_left_out_and_never_null() -> None:
    """Readers need not ask twice whether a field is there."""
    document = validate("raw", raw_record(raw_article(guid=None, link=None)).value)

    assert "guid" not in document
    assert "null" not in json.dumps(document)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no-value"),
        (b"", "not-json"),
        (b"\xff\xfe", "not-json"),
        (b"{", "not-json"),
        (b"[]", "wrong-type"),
        (b"null", "wrong-type"),
        (b"{}", "missing-field"),
        (b'{"story": 5}', "wrong-type"),
        (b'{"story": "short", "feed": {"id": "a"}, "fetchedAt": "2026-03-01T00:00:00Z"}', "wrong-type"),
        (b'{"x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "too-deep"),
        (b'{"x": ' + b"[" * 10_000, "too-deep"),
        (b'{"fetchedAt": ' + b"9" * 10_000 + b"}", "wrong-type"),
        (b'{"title": null}', "wrong-type"),
        (b'{"title": NaN}', "not-json"),
        (b'{"title": "\xed\xa0\x80"}', "not-json"),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else str(value),
)
def test_what_cannot_be_read_is_rejected_with_a_counted_reason(value: bytes | None, reason: str) -> None:
    rejected = wire.read_raw(value)

    assert isinstance(rejected, Rejected)
    assert rejected.reason == reason
    assert rejected.reason in wire.REASONS
    assert "\n" not in rejected.detail


@pytest.mark.parametrize("stamp", ["2026-03-01T00:00:00", "yesterday", "0000-00-00T00:00:00Z"])
def test_a_time_without_zone_or_sense_is_a_wrong_type(stamp: str) -> None:
    document = json.loads(wire.raw_value(raw_article())) | {"fetchedAt": stamp}

    rejected = wire.read_raw(json.dumps(document).encode())

    assert isinstance(rejected, Rejected)
    assert rejected.reason == "wrong-type"


def test_a_field_of_a_later_minor_release_is_ignored() -> None:
    """Inside a major only optional fields are added, so an older reader goes on."""
    document = json.loads(wire.raw_value(raw_article())) | {"mood": "calm"}

    assert wire.read_raw(json.dumps(document).encode()) == raw_article()


def test_a_record_of_a_newer_major_is_told_from_bad_data() -> None:
    record = as_read(raw_record(raw_article()))
    newer = replace(record, headers=(("ce_type", b"dateline.news.item.discovered.v2"),), value=b"?")

    assert wire.newer_major(record) is None
    assert wire.newer_major(newer) == "dateline.news.item.discovered.v2"


def test_a_stranger_among_the_events_is_rejected() -> None:
    record = replace(as_read(raw_record(raw_article())), headers=(("ce_type", b"com.example.order.v1"),))

    assert wire.decode_raw(record) == Rejected(reason="unknown-type", detail="b'com.example.order.v1'")


def test_three_hundred_headers_are_too_many() -> None:
    record = replace(as_read(raw_record(raw_article())), headers=(("x", b""),) * 300)

    rejected = wire.decode_raw(record)

    assert isinstance(rejected, Rejected)
    assert rejected.reason == "too-many-headers"


def test_an_enriched_record_is_ninjs_and_one_property() -> None:
    """It validates against our schema, and without `dateline` against IPTC's own."""
    record = wire.enriched_records(enriched(tags=TAGS), VOCABULARY, topics=["news.enriched"])[0]

    document = validate("enriched", record.value)
    assert document["uri"] == f"urn:dateline:story:{story('a')}"
    assert {"name": "North Korea", "code": "KP"}.items().isdisjoint(document["places"][0].items())
    assert document["subjects"][0]["uri"].endswith("20000642")
    assert [place["literal"] for place in document["places"]] == ["CN", "US", "2036458"]
    del document["dateline"]
    ninjs = SCHEMAS["enriched"]["$defs"]["http://www.iptc.org/std/ninjs/ninjs-schema_3.2.json"]
    registry = jsonschema.validators.validator_for(ninjs)(ninjs)
    registry.validate(document)


def test_an_enriched_record_reads_back_typed() -> None:
    value = wire.enriched_value(enriched(tags=TAGS), VOCABULARY)

    document = wire.decode_enriched(value)

    assert not isinstance(document, Rejected)
    assert document.dateline.verdict.kind == "new"
    assert [(region.code, region.about) for region in document.dateline.regions] == [("CN", True), ("US", False)]
    assert document.dateline.times.enriched == NOW


def test_subscribers_can_filter_by_headers_alone() -> None:
    """Only what the story is about is in the header; mentions are in the value."""
    record = wire.enriched_records(enriched(tags=TAGS), VOCABULARY, topics=["news.enriched"])[0]

    facts = headers(record)
    assert (facts["lang"], facts["regions"], facts["pairs"], facts["topics"]) == ("en", "CN", "CN-KP", "sanctions")
    assert facts["raw"] == "news.raw/3/7"
    assert facts["ce_specversion"] == "1.0"
    assert facts["content-type"] == "application/json"
    assert wire.raw_coordinates(record.headers) == Coordinates(topic="news.raw", partition=3, offset=7)


def test_the_same_version_has_the_same_event_id_whenever_it_is_written() -> None:
    first, again = (
        wire.enriched_records(enriched(enriched_at=when), VOCABULARY, topics=["t"])[0]
        for when in (NOW, NOW.replace(hour=23))
    )

    assert headers(first)["ce_id"] == headers(again)["ce_id"]


def test_a_feed_without_rights_to_the_body_publishes_none_and_no_evidence_from_it() -> None:
    withheld = article(feed=replace(FEED, rights=Rights(body=BodyRights.NONE)))

    document = validate("enriched", wire.enriched_value(enriched(article=withheld, tags=TAGS), VOCABULARY))

    assert "bodies" not in document
    assert document["dateline"]["evidence"] == []


def test_an_excerpt_is_the_beginning_of_the_body_so_that_offsets_hold() -> None:
    body = "word " * 200
    short = article(body=body.strip(), feed=replace(FEED, rights=Rights(body=BodyRights.EXCERPT)))

    document = validate("enriched", wire.enriched_value(enriched(article=short), VOCABULARY))

    assert body.startswith(document["bodies"][0]["value"])
    assert len(document["bodies"][0]["value"]) <= 300


def test_a_body_that_makes_the_record_too_large_is_cut_flagged_and_published() -> None:
    long = article(body="🙂" * 400_000)

    value = wire.enriched_value(enriched(article=long), VOCABULARY)

    assert len(value) <= wire.MAX_RECORD_BYTES
    assert validate("enriched", value)["dateline"]["provenance"]["truncated"][0]["originalLength"] == 400_000


def test_a_duplicate_names_what_it_copies() -> None:
    duplicate = Duplicate(
        story=story("b"),
        original=story("a"),
        kind=VerdictKind.COPY,
        matched_by="text",
        similarity=100,
        version=1,
        feed="example-wire",
        publisher="wire.example.org",
        judged_at=NOW,
    )

    record = wire.duplicate_record(duplicate, fingerprint(), COPY, topic="news.duplicates")

    validate("duplicates", record.value)
    assert wire.decode_duplicate(record.value) == duplicate


def test_a_duplicate_tells_its_whole_verdict_and_what_it_was_given_on() -> None:
    duplicate = Duplicate(
        story=story("b"),
        original=story("a"),
        kind=VerdictKind.COPY,
        matched_by="text",
        similarity=100,
        version=3,
        feed=FEED.id,
        publisher="wire.example.org",
        judged_at=NOW,
    )

    record = as_read(wire.duplicate_record(duplicate, fingerprint(), COPY, topic="news.duplicates"))

    published = wire.decode_published(replace(record, timestamp_ms=1_000))
    assert published == Published(
        fingerprint=fingerprint(), verdict=COPY, at=datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), routes=None
    )


def test_an_enriched_record_tells_its_whole_verdict_and_its_routes_whatever_the_rights_withhold() -> None:
    made = replace(fingerprint(), story=story("a"), link_key=None, guid_key=None, copy_key=None)
    withheld = article(feed=replace(FEED, rights=Rights(body=BodyRights.NONE)))
    told = enriched(article=withheld, fingerprint=made, raw=made.raw)

    record = as_read(wire.enriched_records(told, VOCABULARY, topics=["t"], routes=("china-dprk", "sanctions"))[0])

    published = wire.decode_published(record)
    assert published is not None
    assert (published.fingerprint, published.verdict) == (made, told.verdict)
    assert published.routes == ("china-dprk", "sanctions")


@pytest.mark.parametrize("header", ["judged", "kind", "raw"])
@pytest.mark.parametrize("value", [None, b"", b"\xff", b"no base64", b"bm8gbXNncGFjaw=="])
def test_a_record_that_does_not_say_enough_of_its_verdict_is_no_error(header: str, value: bytes | None) -> None:
    made = replace(fingerprint(), story=story("a"))
    record = as_read(wire.enriched_records(enriched(fingerprint=made), VOCABULARY, topics=["t"])[0])
    others = tuple((name, content) for name, content in record.headers if name != header)
    changed = others if value is None else (*others, (header, value))

    assert wire.decode_published(record) is not None
    assert wire.decode_published(replace(record, headers=changed)) is None


def test_unrouted_and_feed_state_come_back_as_they_were_written() -> None:
    gone = Unrouted(story=story("a"), version=2, route="sanctions", unrouted_at=NOW)
    state = FeedState(feed="example-wire", url="https://wire.example.org/rss", etag='"x"', failures=2, next_poll_at=NOW)

    unrouted = wire.unrouted_record(gone, Coordinates(topic="news.raw", partition=0, offset=1), topic="news.sanctions")
    stored = wire.feed_state_record(state, topic="news.feed-state", now=NOW)

    validate("unrouted", unrouted.value)
    validate("feed-state", stored.value)
    assert wire.decode_unrouted(unrouted.value) == gone
    assert wire.decode_feed_state(stored.value) == state


def poison(value: bytes, *given: tuple[str, bytes]) -> LogRecord:
    return LogRecord(topic="news.raw", partition=2, offset=9, timestamp_ms=0, key=b"k", value=value, headers=given)


def test_a_dead_letter_keeps_its_bytes_and_says_why() -> None:
    rejected = Rejected(reason="not-json", detail="bad\nbyte", stage="decode")

    record = wire.dead_letter_record(poison(b"\xff\x00", ("trace", b"1")), rejected, topic="news.dead-letter", now=NOW)

    assert (record.key, record.value) == (b"k", b"\xff\x00")
    assert headers(record) | {"trace": "1", "raw": "news.raw/2/9", "dateline-reason": "not-json"} == headers(record)
    assert "\n" not in headers(record)["dateline-detail"]


def test_a_dead_letter_that_no_longer_fits_keeps_its_head_length_and_hash() -> None:
    record = wire.dead_letter_record(
        poison(b"x" * 1_048_000), Rejected(reason="not-json"), topic="news.dead-letter", now=NOW
    )

    assert record.value == b"x" * wire.CUT_BYTES
    assert headers(record)["dateline-cut-length"] == "1048000"
    assert len(headers(record)["dateline-cut-sha256"]) == 64


def test_a_dead_letter_that_failed_before_bears_only_the_last_reason() -> None:
    before = (("raw", b"news.raw/0/0"), ("dateline-reason", b"too-deep"))

    record = wire.dead_letter_record(poison(b"x", *before), Rejected(reason="not-json"), topic="d", now=NOW)

    assert [value for name, value in record.headers if name in ("raw", "dateline-reason")] == [
        b"news.raw/2/9",
        b"not-json",
    ]


def test_headers_stay_short_printable_ascii() -> None:
    """Remote text never gets into a header as it is."""
    odd = raw_article(feed=replace(FEED, url="https://wire.example.org/\r\nX: 한국"))

    for name, value in raw_record(odd).headers:
        assert value.isascii(), name
        assert value.decode().isprintable(), name
        assert len(value) <= 4096, name


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_schema_is_a_valid_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])
