"""`dateline explain`: one article through every stage, with the evidence for each tag."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import orjson

from worker import wire
from worker.edges.fetch import FetchSettings, HttpFetcher
from worker.edges.language_model import classify
from worker.edges.process import ExitCode
from worker.loops.explaining import Explanation, explain_article
from worker.ninjs import Vocabulary
from worker.polling import FetchFailed, FetchRequest
from worker.records import Evidence, FeedInfo, Page, RawArticle, Rejected
from worker.settings import Settings
from worker.short_form import read_article
from worker.stages.language import detect
from worker.stages.links import canonical_link, story_id
from worker.wiring import add_common, setup

EXAMPLES = """\
  dateline explain https://news.example.org/2026/05/talks
  dateline explain story.html
  echo '{"title": "Пекин и Пхеньян обсудили поставки угля"}' | dateline explain -
  dateline explain story.json --json | jq .record.dateline.topics
"""
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_CONTEXT = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="FILE|URL|-",
        help="a page, a plain text (first line = title), or JSON: a raw record or the short form of `dateline pipe`",
    )
    parser.add_argument("--language", help="what the feed would say, e.g. ko")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    with setup(args) as context:
        raw = _read(args.source, args.language, context.settings, now)
        if isinstance(raw, Rejected):
            print(f"{args.source}: {raw.reason}: {raw.detail}", file=sys.stderr)
            return ExitCode.UNREADABLE
        taxonomy = context.taxonomy()
    said = explain_article(raw, taxonomy, lambda text, hint: detect(text, hint, classify), now=now)
    if isinstance(said, Rejected):
        print(f"{args.source}: {said.reason}: {said.detail}", file=sys.stderr)
        return ExitCode.UNREADABLE
    if args.json:
        sys.stdout.buffer.write(orjson.dumps(_as_json(said, taxonomy.vocabulary)) + b"\n")
    else:
        print("\n".join(_as_text(said, taxonomy.vocabulary)))
    return ExitCode.OK


def _read(source: str, language: str | None, settings: Settings, now: datetime) -> RawArticle | Rejected:
    if re.match(r"https?://", source, re.IGNORECASE):
        return asyncio.run(_fetch(source, language, settings, now))
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        return Rejected(reason="file", detail=error.strerror or str(error))
    if data.lstrip()[:1] == b"{":
        return read_article(data, now=now)[0]
    text = data.decode("utf-8", "replace")
    if re.match(r"\s*<(?:!doctype|html|head|body|div|article|p)\b", text, re.IGNORECASE):
        return _page(text, None, language, now)
    title, _, body = text.strip().partition("\n")
    return RawArticle(
        story=story_id(None, "explain", None, text),
        feed=FeedInfo(id="explain", language=language),
        fetched_at=now,
        title=title,
        content=body,
    )


async def _fetch(url: str, language: str | None, settings: Settings, now: datetime) -> RawArticle | Rejected:
    poller = settings.poller
    async with HttpFetcher(FetchSettings(ports=frozenset(poller.ports), contact=poller.contact)) as fetcher:
        page = await fetcher.fetch_page(FetchRequest(url=url, max_bytes=10 * 1024 * 1024))
    if isinstance(page, FetchFailed):
        return Rejected(reason=page.reason, detail=page.detail or str(page.status or ""))
    return _page(page.html, page.url, language, now)


def _page(html: str, url: str | None, language: str | None, now: datetime) -> RawArticle:
    title = _TITLE.search(html)
    link = canonical_link(url) if url else None
    return RawArticle(
        story=story_id(link, "explain", None, html),
        feed=FeedInfo(id="explain", language=language),
        fetched_at=now,
        title=title[1].strip() if title else None,
        link=url,
        canonical_link=link,
        page=Page(url=url or "", html=html, fetched_at=now),
    )


def _as_json(said: Explanation, vocabulary: Vocabulary) -> dict[str, object]:
    return {
        "record": orjson.Fragment(wire.enriched_value(said.enriched, vocabulary)),
        "fingerprint": said.fingerprint,
        "routes": [{"route": item.route, "matched": item.matched, "because": item.because} for item in said.routes],
    }


def _as_text(said: Explanation, vocabulary: Vocabulary) -> Iterable[str]:
    article, tags = said.article, said.enriched.tags
    yield f"title       {article.title}"
    yield f"language    {article.language}"
    yield f"text        {len(article.body)} characters, from {article.basis} by {article.extraction}"
    if article.flags or article.truncated:
        yield f"flags       {', '.join((*article.flags, *(f'{cut.field} cut' for cut in article.truncated)))}"
    yield f"story       {article.story}"
    yield f"taxonomy    {said.enriched.taxonomy}"
    for region in tags.regions:
        kind = "about" if region.about else "mentioned"
        name = vocabulary.countries.get(region.code, "")
        yield f"region      {region.code} {name}, {kind}, relevance {region.relevance}"
        yield from _evidence(said, f"region:{region.code}")
    for place in tags.places:
        yield f"place       {place.name} ({place.country}), {'about' if place.about else 'mentioned'}"
        yield from _evidence(said, f"place:{place.geoname}")
    for pair in tags.pairs:
        yield f"pair        {pair.code}, {pair.type or 'no type'}, relevance {pair.relevance}"
        yield from _evidence(said, f"pair:{pair.code}")
    for topic in tags.topics:
        yield f"topic       {topic.slug}, relevance {topic.relevance}, confidence {topic.confidence}"
        yield from _evidence(said, f"topic:{topic.slug}")
    if tags.failed:
        yield f"FAILED      {', '.join(tags.failed)}"
    for route in said.routes:
        yield f"route       {route.route}: {'matched' if route.matched else 'missed'}, {route.because}"


def _evidence(said: Explanation, tag: str) -> Iterable[str]:
    for item in said.enriched.tags.evidence:
        if item.tag == tag:
            yield f"              {_in_context(said, item)}  [{item.rule}, {item.field} {item.start}–{item.end}]"


def _in_context(said: Explanation, item: Evidence) -> str:
    text = said.article.title if item.field == "title" else said.article.body
    before, after = text[max(0, item.start - _CONTEXT) : item.start], text[item.end : item.end + _CONTEXT]
    return f"…{before}«{text[item.start : item.end]}»{after}…".replace("\n", " ")
