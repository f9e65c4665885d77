"""`dateline trace`: the actual way of one story through the topics."""

from __future__ import annotations

import argparse
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from worker import wire
from worker.edges.process import ExitCode
from worker.enriched_document import EnrichedDocument
from worker.enriching import TopicNames
from worker.ports import Log, LogRecord
from worker.records import (
    Article,
    Basis,
    FeedInfo,
    PairTag,
    RawArticle,
    RegionTag,
    Rejected,
    Tags,
    TopicTag,
    Verdict,
    VerdictKind,
)
from worker.ruleset import Taxonomy
from worker.stages.links import canonical_link, story_id
from worker.stages.route import explain
from worker.wiring import add_common, setup

EXAMPLES = """\
  dateline trace https://news.example.org/2026/05/talks
  dateline trace 3f5a…64 hex digits…9c --json
"""
_STORY = re.compile(r"(?:urn:dateline:story:)?([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that happened to a story."""

    time: datetime
    place: str
    """topic/partition/offset."""
    what: str
    details: tuple[str, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("story", metavar="URL|ID", help="the link of an article, or a story id of 64 hex digits")
    parser.add_argument("--json", action="store_true", help="one JSON object a step instead of text")
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    story = _story_of(args.story)
    if story is None:
        print(f"{args.story!r} is neither an http(s) link nor a story id of 64 hex digits", file=sys.stderr)
        return ExitCode.SETTINGS
    with setup(args) as context:
        steps = sorted(trace(context.log(), context.topics, context.taxonomy(), story), key=lambda step: step.time)
    if not steps:
        print(f"no record of story {story}", file=sys.stderr)
        return ExitCode.RESTART
    for step in steps:
        if args.json:
            sys.stdout.buffer.write(orjson.dumps({"story": story} | _as_json(step)) + b"\n")
        else:
            print(f"{step.time:%Y-%m-%d %H:%M:%S}  {step.place}  {step.what}")
            for detail in step.details:
                print(f"    {detail}")
    return ExitCode.OK


def _story_of(text: str) -> str | None:
    if match := _STORY.fullmatch(text.strip().lower()):
        return match[1]
    link = canonical_link(text)
    return story_id(link, "", None, "") if link else None


def _as_json(step: Step) -> dict[str, object]:
    return {"time": step.time, "place": step.place, "what": step.what, "details": step.details}


def trace(log: Log, names: TopicNames, taxonomy: Taxonomy, story: str) -> Iterator[Step]:
    """Yield what the topics hold of *story*, topic by topic; reads only the partitions where it can lie."""
    there = log.topics()
    routes = {names.route(route.topic): route.name for route in taxonomy.routes}
    for topic in (names.raw, names.enriched, names.duplicates, names.dead_letter, *routes):
        if topic not in there:
            continue
        for record in _records_of(log, topic, there[topic], story):
            time = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
            what, details = _told(record, names, routes, taxonomy)
            yield Step(time=time, place=str(record.coordinates), what=what, details=tuple(details))


def _records_of(log: Log, topic: str, partitions: int, story: str) -> Iterator[LogRecord]:
    key = story.encode()
    mine = zlib.crc32(key) % partitions
    bounds = log.bounds([topic])
    start = {place: first if place[1] == mine else end for place, (first, end) in bounds.items()}
    reader = log.reader([topic], start=start)
    try:
        while not reader.at_end():
            for record in reader.read(timeout_s=1.0):
                if record.key == key:
                    yield record
    finally:
        reader.close()


def _told(
    record: LogRecord, names: TopicNames, routes: dict[str, str], taxonomy: Taxonomy
) -> tuple[str, Iterable[str]]:
    made_of = wire.header(record.headers, "raw")
    if record.topic == names.raw:
        raw = wire.decode_raw(record)
        return ("raw", [_raw_line(raw)])
    if record.topic == names.duplicates:
        duplicate = wire.decode_duplicate(record.value)
        if isinstance(duplicate, Rejected):
            return "duplicate, unreadable", [duplicate.detail]
        return f"{duplicate.kind} of {duplicate.original}", [
            f"from {made_of}, decided by the {duplicate.matched_by}, feed {duplicate.feed}",
            f"its publisher {duplicate.publisher}, the original's {duplicate.original_publisher or 'unknown'}",
        ]
    if record.topic == names.dead_letter:
        reason = wire.header(record.headers, "dateline-reason")
        return f"dead letter: {reason}", [f"from {made_of}", wire.header(record.headers, "dateline-detail") or ""]
    if wire.header(record.headers, "kind") == "unrouted":
        return f"left route {routes.get(record.topic, record.topic)}", [f"from {made_of}"]
    if record.topic != names.enriched:
        version = wire.header(record.headers, "version")
        return f"route {routes.get(record.topic, record.topic)}, version {version}", [f"from {made_of}"]
    document = wire.decode_enriched(record.value)
    if isinstance(document, Rejected):
        return "enriched, unreadable", [document.detail]
    verdict = document.dateline.verdict
    return f"{verdict.kind}, version {verdict.version}", [f"from {made_of}", *_tag_lines(document, taxonomy)]


def _raw_line(raw: RawArticle | Rejected) -> str:
    if isinstance(raw, Rejected):
        return f"unreadable: {raw.reason}: {raw.detail}"
    return f"feed {raw.feed.id}, fetched {raw.fetched_at:%Y-%m-%d %H:%M:%S}, {raw.title or 'without title'}"


def _tag_lines(document: EnrichedDocument, taxonomy: Taxonomy) -> Iterator[str]:
    said = document.dateline
    yield f"tagged with taxonomy {said.provenance.taxonomy} by worker {said.provenance.worker}"
    yield "regions " + ", ".join(
        f"{tag.code} {tag.relevance}{'' if tag.about else ' (mentioned)'}" for tag in said.regions
    )
    yield "pairs " + ", ".join(f"{tag.code} {tag.relevance}" for tag in said.pairs)
    yield "topics " + ", ".join(f"{tag.slug} {tag.relevance}" for tag in said.topics)
    tags, article, verdict = _facts(document)
    for decision in explain(taxonomy.routes, tags=tags, article=article, verdict=verdict):
        yield f"route {decision.route}: {'matches' if decision.matched else 'missed'}, {decision.because}"


def _facts(document: EnrichedDocument) -> tuple[Tags, Article, Verdict]:
    """Return what the routes ask about, as far as the published record tells it."""
    said = document.dateline
    story = said.verdict.story
    tags = Tags(
        regions=tuple(RegionTag(code=tag.code, about=tag.about, relevance=tag.relevance) for tag in said.regions),
        pairs=tuple(
            PairTag(code=tag.code, type=tag.type if isinstance(tag.type, str) else None, relevance=tag.relevance)
            for tag in said.pairs
        ),
        topics=tuple(
            TopicTag(slug=tag.slug, relevance=tag.relevance, confidence=tag.confidence) for tag in said.topics
        ),
    )
    labels = said.provenance.labels
    article = Article(
        story=story,
        feed=FeedInfo(id=said.provenance.feed, labels=labels if isinstance(labels, dict) else {}),
        title=document.headlines[0].value if document.headlines else "",
        body="",
        basis=Basis(said.provenance.fetch),
        extraction=said.provenance.extraction,
        language=document.language,
        link=None,
        canonical_link=None,
        guid=None,
        fetched_at=said.times.fetched,
        published_at=None,
    )
    verdict = Verdict(
        kind=VerdictKind(said.verdict.kind),
        story=story,
        version=said.verdict.version,
        first_seen=said.times.first_seen,
    )
    return tags, article, verdict
