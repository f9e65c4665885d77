"""
The enriched record's outside form: an IPTC ninjs 3.2 object plus one property, `dateline`.

`document` writes plain dicts, since this is the hot path; worker/enriched_document.py reads them back and makes
the schema; a test holds the two together. Field by field: docs/records.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from worker import __version__
from worker.records import Article, BodyRights, Enriched, Evidence, FeedInfo

SCHEMA = "urn:dateline:schema:enriched:1.0"
COUNTRY_URI = "http://cvx.iptc.org/iso3166-1a2/"
EXCERPT_CHARS = 300
_STANDARD = {"name": "dateline-ninjs", "version": "1.0", "schema": SCHEMA}
_SAFE_IN_URI = "!#$%&'()*+,/:;=?@[]~"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicName:
    """How a topic is called outside."""

    name: str
    uri: str | None = None
    """IPTC Media Topic, where one exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The names that go with the codes of tags."""

    version: str
    """Of the taxonomy."""
    countries: Mapping[str, str] = field(default_factory=dict)
    """English name by ISO 3166-1 alpha-2 code."""
    topics: Mapping[str, TopicName] = field(default_factory=dict)


def published_body(article: Article) -> str:
    """Return as much of the body as the feed's rights allow; always a prefix, so that offsets hold."""
    rights = article.feed.rights.body
    if rights is BodyRights.NONE:
        return ""
    if rights is BodyRights.EXCERPT and len(article.body) > EXCERPT_CHARS:
        cut = article.body[:EXCERPT_CHARS]
        return cut[: cut.rfind(" ")] if " " in cut[EXCERPT_CHARS // 2 :] else cut
    return article.body


def document(record: Enriched, vocabulary: Vocabulary) -> dict[str, Any]:
    """Return *record* as ninjs + `dateline`, ready for orjson; absent instead of null."""
    article, verdict = record.article, record.verdict
    body = published_body(article)
    doc: dict[str, Any] = {
        "uri": f"urn:dateline:story:{verdict.story}",
        "standard": _STANDARD,
        "type": "text",
        "language": article.language,
        "version": str(verdict.version),
        "versionCreated": record.enriched_at,
        "firstCreated": verdict.first_seen,
    }
    if article.title:
        doc["headlines"] = [{"value": article.title}]
    if body:
        doc["bodies"] = [{"contentType": "text/plain", "value": body, "charCount": len(body)}]
    if article.authors:
        doc["by"] = ", ".join(article.authors)
    if article.feed.rights.usage_terms:
        doc["usageTerms"] = article.feed.rights.usage_terms
    doc["infoSources"] = [{"name": article.feed.title or article.feed.id, "role": "publisher"}]
    doc["altIds"] = [
        {"role": role, "value": value} for role, value in (("link", article.link), ("feedGuid", article.guid)) if value
    ]
    if not doc["altIds"]:
        del doc["altIds"]
    if places := _places(record, vocabulary):
        doc["places"] = places
    if subjects := _subjects(record, vocabulary):
        doc["subjects"] = subjects
    doc["dateline"] = _extension(record, len(body))
    return doc


def _places(record: Enriched, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    countries = [
        {
            "name": vocabulary.countries.get(tag.code, tag.code),
            "rel": "about" if tag.about else "mentions",
            "uri": COUNTRY_URI + tag.code.lower(),
            "literal": tag.code,
        }
        for tag in record.tags.regions
    ]
    places = [
        {"name": tag.name, "rel": "about" if tag.about else "mentions", "literal": tag.geoname}
        | ({"uri": f"https://sws.geonames.org/{tag.geoname}/"} if tag.geoname.isdigit() else {})
        for tag in record.tags.places
    ]
    return countries + places


def _subjects(record: Enriched, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    creator = f"dateline-taxonomy/{record.taxonomy}"
    subjects: list[dict[str, Any]] = []
    for topic in record.tags.topics:
        known = vocabulary.topics.get(topic.slug)
        subject = {
            "name": known.name if known else topic.slug,
            "rel": "about",
            "literal": f"topic:{topic.slug}",
            "creator": creator,
            "relevance": topic.relevance,
            "confidence": topic.confidence,
        }
        if known and known.uri:
            subject["uri"] = known.uri
        subjects.append(subject)
    for pair in record.tags.pairs:
        name = " and ".join(vocabulary.countries.get(code, code) for code in pair.code.split("-"))
        subjects.append(
            {
                "name": name,
                "rel": "about",
                "literal": f"pair:{pair.code}",
                "creator": creator,
                "relevance": pair.relevance,
            }
        )
    return subjects


def _extension(record: Enriched, body_chars: int) -> dict[str, Any]:
    article, verdict, tags = record.article, record.verdict, record.tags
    times = {"fetched": article.fetched_at, "firstSeen": verdict.first_seen, "enriched": record.enriched_at}
    if article.published_at:
        times["claimed"] = article.published_at
    extension: dict[str, Any] = {
        "regions": tags.regions,
        "pairs": [
            {"code": pair.code, "relevance": pair.relevance} | ({"type": pair.type} if pair.type else {})
            for pair in tags.pairs
        ],
        "topics": tags.topics,
        "evidence": _published_evidence(tags.evidence, article, body_chars),
        "verdict": {
            "kind": verdict.kind,
            "version": verdict.version,
            "story": verdict.story,
            "independentSources": verdict.independent_sources,
            "copies": verdict.copies,
        },
        "times": times,
        "provenance": _provenance(record),
    }
    return extension


def _published_evidence(evidence: tuple[Evidence, ...], article: Article, body_chars: int) -> tuple[Evidence, ...]:
    """Leave out spans of text that the rights withhold: an offset must be found in the published field."""
    if body_chars == len(article.body):
        return evidence
    return tuple(item for item in evidence if item.field != "body" or item.end <= body_chars)


def _provenance(record: Enriched) -> dict[str, Any]:
    article = record.article
    provenance: dict[str, Any] = {
        "feed": article.feed.id,
        "rights": _rights(article.feed),
        "fetch": article.basis,
        "extraction": article.extraction,
        "taxonomy": record.taxonomy,
        "worker": __version__,
    }
    if article.canonical_link:
        provenance["link"] = article.canonical_link
    if article.feed.labels:
        provenance["labels"] = article.feed.labels
    if article.truncated:
        provenance["truncated"] = [
            {"field": cut.field, "originalLength": cut.original_length} for cut in article.truncated
        ]
    if article.flags:
        provenance["flags"] = article.flags
    if record.tags.failed:
        provenance["tagsFailed"] = record.tags.failed
    if record.reprocessed:
        provenance["reprocessed"] = True
    return provenance


def _rights(feed: FeedInfo) -> dict[str, Any]:
    rights: dict[str, Any] = {"body": feed.rights.body}
    if feed.rights.usage_terms:
        rights["usageTerms"] = feed.rights.usage_terms
    return rights


def ascii_uri(text: str) -> str:
    """Return *text* percent-encoded, as ninjs and CloudEvents want URIs."""
    return text if text.isascii() and text.isprintable() and " " not in text else quote(text, safe=_SAFE_IN_URI)
