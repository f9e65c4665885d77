"""
Tag an article with the countries and places that it names, and tell what it is about from what it only mentions.

By where the names stand and how often they come; toponyms.py finds them, toponym_resolution.py settles what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from worker.gazetteer import Place
from worker.records import Article, Evidence, Mention, PlaceTag, RegionTag
from worker.toponym_resolution import damp_lists, resolve
from worker.toponyms import Gazetteer, Hit, hits_in

LEAD = 450
"""Characters of the body that count as its lead."""
EVIDENCE = 3
"""Spans kept for each tag."""
_DATELINE = re.compile(
    r"""\s*(?:
      【[^】\n]{1,40}】 | [［\[][^］\]\n]{1,40}[］\]] | [（(][^（()）\n]{0,30}=[^（()）\n]{0,30}[)）]
    | [（(][^（()）\n]{2,40}(?:电|電|讯|訊|記者)[^（()）\n]{0,20}[)）]
    | [^\s，。,.]{2,24}?\s?\d{1,2}月\d{1,2}日(?:电|電|讯|訊)
    | [А-ЯЁ][А-ЯЁ\- ]{2,40}(?:\ \([^)\n]{2,30}\))?[,.]\ \d{1,2}\ [а-я]+(?:\s*[.—–/-])?
    | [А-ЯЁ][А-ЯЁ\- ]{2,40}\ (?:\([^)\n]{2,30}\)\ )?[—–-]\s
    | [A-ZÀ-Ý](?:[A-ZÀ-Ý.'’ \-]|[a-z](?![a-z]*\ [a-z])){2,60}?
      (?:,\ [A-Z][A-Za-z.]+(?:\ \d{1,2})?){0,3}\s*(?:\([A-Za-z0-9 /.\-]{2,40}\)\s*)?(?:--|[—–]|\ -)\ ?
    )""",
    re.VERBOSE,
)
_CAPS = re.compile(r"[A-ZА-ЯЁ]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionResult:
    """What an article names; `mentions` are in the order title, body, and by position."""

    regions: tuple[RegionTag, ...]
    places: tuple[PlaceTag, ...]
    mentions: tuple[Mention, ...]
    evidence: tuple[Evidence, ...]


def tag_regions(article: Article, gazetteer: Gazetteer) -> RegionResult:
    """Return the countries and places of *article*, each mention, and evidence for each tag."""
    title, body = article.title, article.body
    base = len(title) + 1
    text = f"{title}\n{body}"
    dateline = _DATELINE.match(text, base)
    dateline_end = dateline.end() if dateline and dateline.end() < len(text) else 0
    hits: list[Hit] = []
    start = 0
    if title.isupper() and _CAPS.search(title):
        hits += _part(text, 0, base, gazetteer, article.language, caps=True)
        start = base
    if dateline_end and text[base:dateline_end].strip(" -–—")[:3].isupper():
        hits += _part(text, start, base, gazetteer, article.language, caps=False)
        hits += _part(text, base, dateline_end, gazetteer, article.language, caps=True)
        start = dateline_end
    hits += _part(text, start, len(text), gazetteer, article.language, caps=False)
    if not hits:
        return RegionResult(regions=(), places=(), mentions=(), evidence=())
    hits = resolve(text, hits, gazetteer.places, article.language)
    damp_lists(text, hits)
    for hit in hits:
        if base <= hit.start < dateline_end:
            hit.weight, hit.rule = 0.0, "dateline"
    return _result(article, hits, gazetteer.places, base, dateline_end)


def _part(text: str, start: int, end: int, gazetteer: Gazetteer, language: str, *, caps: bool) -> Iterable[Hit]:
    """Return the hits of text[start:end], at their place in *text*."""
    if start == 0:
        return hits_in(text if end == len(text) else text[:end], gazetteer, language, caps=caps)
    part = hits_in(text[start:end], gazetteer, language, caps=caps)
    return [Hit(hit.start + start, hit.end + start, hit.entry, hit.alias) for hit in part]


@dataclass(slots=True)
class _Score:
    total: float = 0.0
    title: float = 0.0
    lead: float = 0.0
    count: int = 0


def _scores(hits: list[Hit], base: int, lead_end: int) -> dict[str, _Score]:
    scores: dict[str, _Score] = {}
    for hit in hits:
        if not hit.weight:
            continue
        for code in hit.codes:
            score = scores.get(code)
            if score is None:
                score = scores[code] = _Score()
            weight = hit.weight
            score.count += 1
            if hit.start < base:
                score.title += weight
                score.total += 3 * weight
            elif hit.start < lead_end:
                score.lead += weight
                score.total += 1.6 * weight
            else:
                score.total += weight
    return scores


def _about(score: _Score, top: float) -> bool:
    """Tell whether a text is about a country, by where it stands and by its share beside the strongest."""
    if score.total < 0.5:
        return False
    if score.title >= 0.5:
        return True
    share = score.total / top
    return (score.lead >= 0.5 and share >= 0.4) or share >= 0.6


def _result(article: Article, hits: list[Hit], places: tuple[Place, ...], base: int, dateline_end: int) -> RegionResult:
    scores = _scores(hits, base, max(base, dateline_end) + LEAD)
    top = max((score.total for score in scores.values()), default=0.0)
    ranked = sorted(scores.items(), key=lambda item: (-item[1].total, item[0]))
    about = {code for code, score in ranked if _about(score, top)}
    regions = tuple(
        RegionTag(code=code, about=code in about, relevance=_relevance(score, code in about)) for code, score in ranked
    )
    mentions = tuple(_mention(article, hit, places, base) for hit in hits)
    seen: dict[str, PlaceTag] = {}
    for hit in hits:
        if hit.place is not None:
            place = places[hit.place]
            if place.id not in seen:
                near = hit.weight > 0 and place.country in about and hit.start < base + LEAD
                seen[place.id] = PlaceTag(name=place.name, geoname=place.id, country=place.country, about=near)
    return RegionResult(
        regions=regions, places=tuple(seen.values()), mentions=mentions, evidence=tuple(_evidence(mentions, about))
    )


def _relevance(score: _Score, about: bool) -> int:
    """Map a score to 0–100: what is about begins at 40, what is mentioned ends there."""
    part = score.total / (score.total + 4)
    return round(40 + 60 * part) if about else max(1, round(40 * part))


def _mention(article: Article, hit: Hit, places: tuple[Place, ...], base: int) -> Mention:
    in_title = hit.start < base
    field, shift = ("title", 0) if in_title else ("body", base)
    start, end = hit.start - shift, hit.end - shift
    return Mention(
        field=field,
        start=start,
        end=end,
        text=(article.title if in_title else article.body)[start:end],
        codes=hit.codes,
        rule=hit.rule,
        weight=hit.weight,
        place=None if hit.place is None else places[hit.place].id,
    )


def _evidence(mentions: Iterable[Mention], about: set[str]) -> Iterator[Evidence]:
    """Yield the first spans of each country, one of each only mentioned, and of each place; datelines prove places."""
    counts: dict[str, int] = {}
    for mention in mentions:
        keys = mention.codes if mention.weight else ()
        if mention.place is not None:
            keys = (*keys, mention.place)
        for key in keys:
            count = counts.get(key, 0)
            if count < (EVIDENCE if key in about else 1):
                counts[key] = count + 1
                yield Evidence(
                    tag=f"place:{key}" if key == mention.place else f"region:{key}",
                    field=mention.field,
                    start=mention.start,
                    end=mention.end,
                    text=mention.text,
                    rule=mention.rule,
                )
