"""
The outside form of every topic: JSON values, CloudEvents 1.0 and routing headers; and the way back, typed and strict.

orjson writes, msgspec reads. What cannot be read is a `Rejected` with a counted reason, never an escaping exception;
a record of a newer major (`newer_major`) is not bad data: the reader must wait. Docs: docs/records.md.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
import orjson

from worker import __version__
from worker.enriched_document import EnrichedDocument
from worker.ninjs import Vocabulary, ascii_uri, document
from worker.outside import Codec, codec
from worker.ports import Headers, LogRecord, NewRecord
from worker.published import judged_header, read_judged
from worker.records import (
    Coordinates,
    Duplicate,
    Enriched,
    FeedState,
    Fingerprint,
    Published,
    RawArticle,
    Rejected,
    Tags,
    Truncation,
    Unrouted,
    Verdict,
)

T = TypeVar("T")

MAJOR = 1
MAX_RAW_BYTES = 900 * 1024
MAX_RECORD_BYTES = 1_000_000
"""What we write at most, headers included: below the 1 MiB that a topic takes."""
MAX_STATE_BYTES = 64 * 1024
CUT_BYTES = 64 * 1024
"""How much is kept of a dead letter that no longer fits."""
MAX_HEADERS = 100
_MAX_HEADER_BYTES = 4096
_MAX_COPIED_HEADERS_BYTES = 16 * 1024

TYPES = {
    "raw": "dateline.news.item.discovered.v1",
    "enriched": "dateline.news.item.enriched.v1",
    "duplicates": "dateline.news.item.duplicate.v1",
    "unrouted": "dateline.news.item.unrouted.v1",
    "dead-letter": "dateline.news.item.rejected.v1",
    "feed-state": "dateline.news.feed.state.v1",
}
REASONS = (
    "no-value",
    "not-json",
    "too-deep",
    "missing-field",
    "wrong-type",
    "unknown-type",
    "too-many-headers",
    "too-large",
    "no-text",
    "extraction-failed",
)
"""Why a record can be refused: metric label, header and documentation at once."""

RAW: Codec[RawArticle] = codec(RawArticle)
DUPLICATE: Codec[Duplicate] = codec(Duplicate)
UNROUTED: Codec[Unrouted] = codec(Unrouted)
FEED_STATE: Codec[FeedState] = codec(FeedState)
_ENRICHED = msgspec.json.Decoder(EnrichedDocument)
_MAJOR_OF_TYPE = re.compile(rb"\.v(\d{1,6})$")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC


# --- reading ---------------------------------------------------------------------------------------------------------


def newer_major(record: LogRecord, kind: str = "raw") -> str | None:
    """Return the type of a record of that *kind* that a newer major release wrote; None for any other."""
    known = _RAW_TYPE if kind == "raw" else TYPES[kind].encode()
    for name, value in record.headers:
        if name == "ce_type" and value != known and value.startswith(known[:-1]):
            major = _MAJOR_OF_TYPE.search(value)
            if major is not None and int(major[1]) > MAJOR:
                return value.decode("ascii", "replace")
    return None


def decode_raw(record: LogRecord) -> RawArticle | Rejected:
    """
    Read one record of `news.raw`, whoever wrote it; the CloudEvents headers may be missing.

    Ask `newer_major` first: a record of a newer release is not bad data, it must wait.
    """
    if len(record.headers) > MAX_HEADERS:
        return Rejected(reason="too-many-headers", detail=f"{len(record.headers)} headers, at most {MAX_HEADERS}")
    for name, value in record.headers:
        if name == "ce_type" and value != _RAW_TYPE:
            return Rejected(reason="unknown-type", detail=_one_line(repr(value[:100])))
    return read_raw(record.value)


def read_raw(value: bytes | None) -> RawArticle | Rejected:
    """Read the value of a raw record."""
    return _read(RAW, value)


def decode_duplicate(value: bytes | None) -> Duplicate | Rejected:
    return _read(DUPLICATE, value)


def decode_unrouted(value: bytes | None) -> Unrouted | Rejected:
    return _read(UNROUTED, value)


def decode_feed_state(value: bytes | None) -> FeedState | Rejected:
    return _read(FEED_STATE, value)


def decode_enriched(value: bytes | None) -> EnrichedDocument | Rejected:
    if value is None:
        return Rejected(reason="no-value")
    try:
        result: EnrichedDocument = _ENRICHED.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return rejected(error)
    return result


def _read(reader: Codec[T], value: bytes | None) -> T | Rejected:
    if value is None:
        return Rejected(reason="no-value", detail="the value is null")
    try:
        return reader.read(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError, ValueError) as error:
        return rejected(error)


def rejected(error: Exception) -> Rejected:
    """Return why reading failed, as a counted reason."""
    if isinstance(error, msgspec.ValidationError):
        reason = "missing-field" if "missing required field" in str(error) else "wrong-type"
    elif isinstance(error, RecursionError):
        reason = "too-deep"
    elif isinstance(error, OverflowError):
        reason = "wrong-type"
    else:
        reason = "not-json"
    return Rejected(reason=reason, detail=_one_line(str(error)))


def header(headers: Headers, name: str) -> str | None:
    """Return the last header of that *name* as text; None when there is none."""
    for key, value in reversed(headers):
        if key == name:
            return value.decode("utf-8", "replace")
    return None


def raw_coordinates(headers: Headers) -> Coordinates | None:
    """Return where the record that this one was made from lies: the header `raw`."""
    return _coordinates(header(headers, "raw"))


def origin_coordinates(headers: Headers) -> Coordinates | None:
    """Return where the first of a record's lives lies, when it is a dead letter's second chance: `retried-from`."""
    return _coordinates(header(headers, "retried-from"))


def _coordinates(text: str | None) -> Coordinates | None:
    topic, _, rest = (text or "").rpartition("/")
    topic, _, partition = topic.rpartition("/")
    if not topic or not partition.isdecimal() or not rest.isdecimal():
        return None
    return Coordinates(topic=topic, partition=int(partition), offset=int(rest))


def decode_published(record: LogRecord) -> Published | None:
    """Return the verdict that an enriched record or a duplicate tells; None where its headers do not say enough."""
    raw = raw_coordinates(record.headers)
    return None if raw is None else read_judged(record, raw)


# --- writing ---------------------------------------------------------------------------------------------------------


def raw_value(article: RawArticle) -> bytes:
    return orjson.dumps(RAW.plain(article), option=_OPTIONS)


def raw_record(article: RawArticle, *, topic: str, now: datetime) -> NewRecord:
    """
    Return *article* as a record for `news.raw`.

    Its `ce_id` tells two versions of one story apart by their value.
    """
    value = raw_value(article)
    version = hashlib.blake2b(value, digest_size=16).hexdigest()
    source = article.feed.url or f"urn:dateline:feed:{article.feed.id}"
    events = _events("raw", article.story, version, source=source, now=now)
    return NewRecord(
        topic=topic, key=article.story.encode(), value=value, headers=(*events, ("feed", _ascii(article.feed.id)))
    )


def feed_state_record(state: FeedState, *, topic: str, now: datetime) -> NewRecord:
    """Return *state* as a record for the compacted `news.feed-state`."""
    value = orjson.dumps(FEED_STATE.plain(state), option=_OPTIONS)
    events = _events("feed-state", state.feed, now.isoformat(), source=f"urn:dateline:feed:{state.feed}", now=now)
    return NewRecord(topic=topic, key=state.feed.encode(), value=value, headers=events)


def enriched_value(enriched: Enriched, vocabulary: Vocabulary, *, limit: int = MAX_RECORD_BYTES) -> bytes:
    """Return *enriched* as JSON of at most *limit* bytes: a body that makes it longer is cut, and flagged."""
    value = orjson.dumps(document(enriched, vocabulary), option=_OPTIONS)
    while len(value) > limit and enriched.article.body:
        enriched = _shorter(enriched)
        value = orjson.dumps(document(enriched, vocabulary), option=_OPTIONS)
    return value


def _shorter(enriched: Enriched) -> Enriched:
    """Return *enriched* with half of its body and the evidence that still stands in it."""
    article = enriched.article
    body = article.body[: len(article.body) // 2]
    before = next((cut for cut in article.truncated if cut.field == "body"), None)
    cut = before or Truncation(field="body", original_length=len(article.body))
    others = tuple(each for each in article.truncated if each is not before)
    evidence = tuple(item for item in enriched.tags.evidence if item.field != "body" or item.end <= len(body))
    return replace(
        enriched,
        article=replace(article, body=body, truncated=(*others, cut)),
        tags=replace(enriched.tags, evidence=evidence),
    )


def enriched_records(
    enriched: Enriched,
    vocabulary: Vocabulary,
    *,
    topics: Sequence[str],
    routes: Sequence[str] = (),
    limit: int = MAX_RECORD_BYTES,
) -> list[NewRecord]:
    """
    Return the same record for each of *topics*: `news.enriched` and those of the *routes* that matched.

    *limit*: of the whole record in bytes.
    """
    article, verdict = enriched.article, enriched.verdict
    events = _events(
        "enriched", verdict.story, str(verdict.version), source=_source(article.feed.id), now=enriched.enriched_at
    )
    headers = (
        *events,
        ("raw", str(enriched.raw).encode()),
        ("feed", _ascii(article.feed.id)),
        ("kind", verdict.kind.encode()),
        ("version", b"%d" % verdict.version),
        *_routing(enriched.tags, article.language),
        ("routes", _listed(routes)),
    )
    if enriched.fingerprint is not None:
        headers = (*headers, judged_header(enriched.fingerprint, verdict))
    if enriched.reprocessed:
        headers = (*headers, ("reprocessed", b"true"))
    key = verdict.story.encode()
    value = enriched_value(enriched, vocabulary, limit=limit - _size_without_value(key, headers))
    return [NewRecord(topic=topic, key=key, value=value, headers=headers) for topic in topics]


def _size_without_value(key: bytes, headers: Headers) -> int:
    """Return at least the bytes that a record takes beside its value, whichever log it goes to."""
    return 200 + len(key) + sum(4 * len(name) + len(value) + 10 for name, value in headers)


def unrouted_record(unrouted: Unrouted, raw: Coordinates, *, topic: str, reprocessed: bool = False) -> NewRecord:
    """Return what tells a route's subscribers that the story's new version left it."""
    value = orjson.dumps(UNROUTED.plain(unrouted), option=_OPTIONS)
    version = f"{unrouted.version}/{unrouted.route}"
    events = _events("unrouted", unrouted.story, version, source="urn:dateline:worker", now=unrouted.unrouted_at)
    headers = (*events, ("raw", str(raw).encode()), ("kind", b"unrouted"), ("version", b"%d" % unrouted.version))
    if reprocessed:
        headers = (*headers, ("reprocessed", b"true"))
    return NewRecord(topic=topic, key=unrouted.story.encode(), value=value, headers=headers)


def duplicate_record(duplicate: Duplicate, fingerprint: Fingerprint, verdict: Verdict, *, topic: str) -> NewRecord:
    """Return *duplicate* as a record for `news.duplicates`; it was judged so on *fingerprint*."""
    raw = fingerprint.raw
    value = orjson.dumps(DUPLICATE.plain(duplicate), option=_OPTIONS)
    events = _events("duplicates", duplicate.story, str(raw), source=_source(duplicate.feed), now=duplicate.judged_at)
    headers = (
        *events,
        ("raw", str(raw).encode()),
        ("feed", _ascii(duplicate.feed)),
        ("kind", duplicate.kind.encode()),
        ("lang", _ascii(duplicate.language or "und")),
        judged_header(fingerprint, verdict),
    )
    if duplicate.reprocessed:
        headers = (*headers, ("reprocessed", b"true"))
    return NewRecord(topic=topic, key=duplicate.story.encode(), value=value, headers=headers)


def dead_letter_record(
    record: LogRecord,
    rejected: Rejected,
    *,
    topic: str,
    now: datetime,
    reprocessed: bool = False,
    limit: int = MAX_RECORD_BYTES,
) -> NewRecord:
    """
    Return *record* as a dead letter: its bytes untouched, the reason in headers.

    Headers that it came with stay, but for ours of an earlier time; what no longer fits into *limit* bytes keeps its
    first 64 KiB or less, its length and its hash.
    """
    value = record.value or b""
    kept, size = [], 0
    for name, content in record.headers:
        size += len(name) + len(content)
        if name not in _OURS and not name.startswith("dateline-") and size <= _MAX_COPIED_HEADERS_BYTES:
            kept.append((name, content))
    origin = origin_coordinates(record.headers)
    headers = [
        *kept,
        *((("retried-from", str(origin).encode()),) if origin else ()),
        *((("reprocessed", b"true"),) if reprocessed else ()),
        ("raw", str(record.coordinates).encode()),
        ("dateline-reason", rejected.reason.encode()),
        ("dateline-detail", _one_line(rejected.detail).encode("utf-8")),
        ("dateline-stage", rejected.stage.encode()),
        ("dateline-failed-at", now.astimezone(UTC).isoformat(timespec="milliseconds").encode()),
        ("dateline-worker", __version__.encode()),
    ]
    key = record.key or b""
    room = limit - 2 * _MAX_COPIED_HEADERS_BYTES
    if len(value) + len(key) > room:
        headers += [
            ("dateline-cut-length", b"%d" % len(value)),
            ("dateline-cut-sha256", hashlib.sha256(value).hexdigest().encode()),
        ]
        cut = max(0, min(CUT_BYTES, room // 2))
        value, key = value[:cut], key[:cut]
    return NewRecord(topic=topic, key=key, value=value, headers=tuple(headers))


def _routing(tags: Tags, language: str) -> Headers:
    """Return the facts that subscribers filter by without reading the value."""
    return (
        ("lang", _ascii(language)),
        ("regions", _listed(tag.code for tag in tags.regions if tag.about)),
        ("pairs", _listed(tag.code for tag in tags.pairs)),
        ("topics", _listed(tag.slug for tag in tags.topics)),
    )


def _listed(codes: Iterable[str]) -> bytes:
    return ",".join(codes).encode("ascii", "replace")[:_MAX_HEADER_BYTES]


def _source(feed: str) -> str:
    return f"urn:dateline:feed:{feed}"


def _events(kind: str, subject: str, version: str, *, source: str, now: datetime) -> Headers:
    """Return the CloudEvents headers in binary mode; the id is the same whenever the same thing is said again."""
    type_ = TYPES[kind]
    identity = hashlib.blake2b(f"{type_}\n{subject}\n{version}".encode(), digest_size=16).hexdigest()
    return (
        ("ce_specversion", b"1.0"),
        ("ce_id", identity.encode()),
        ("ce_source", _ascii(ascii_uri(source))),
        ("ce_type", type_.encode()),
        ("ce_subject", _ascii(subject)),
        ("ce_time", now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()),
        ("content-type", b"application/json"),
    )


def _ascii(text: str) -> bytes:
    return _UNPRINTABLE.sub("?", text)[:_MAX_HEADER_BYTES].encode("ascii")


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text[:1000])


_RAW_TYPE = TYPES["raw"].encode()
_OURS = ("raw", "retried-from", "reprocessed")
"""Headers of a dead letter that say where it comes from; no other record's are copied."""
