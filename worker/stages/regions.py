"""
Tag an article with the countries and places that it names, and tell what it is about from what it only mentions.

One automaton over all names, leftmost-longest on the text as it is; a match consumes its text. Names that are also
words or people's names count only where the text names their country otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import ahocorasick_rs

from worker.gazetteer import Alias, Place, RegionRules, bounded
from worker.records import Article, Evidence, Mention, PlaceTag, RegionTag
from worker.text import is_unspaced

LEAD = 450
"""Characters of the body that count as its lead."""
EVIDENCE = 3
"""Spans kept for each tag."""
_SAFE_CITY = 250_000
"""A city of at least so many inhabitants, with a name that is nothing else, names its country by itself."""
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
_LIST_GAP = re.compile(r"\s*(?:,? and (?:the )?|,|、|·|・|和|及|与|與|와 |과 |, и | и |や|&)\s*(?:the )?")
_BEYOND = 8
"""Characters behind a refused name that a name across its end may take."""
_UNSPACED = "\u2e80"
_GAP = 10
"""The longest of those."""
_MAJOR = frozenset("US CN RU JP KR KP IN CA AU DE UA GB BR MX IT ES PK ID TR VN TW IQ MM".split())
"""States whose first-level divisions the news names without naming the state."""
_OTHER_LATIN = frozenset("pl cs de fr es it pt nl sv da no fi tr ro hu hr sk sl vi id lt lv et".split())
"""In articles of these languages English demonyms and doubtful names of places are not read."""
_STATE = re.compile(
    r",? (?:Ala|Ariz|Ark|Calif|Colo|Conn|Del|Fla|Ga|Ill|Ind|Kan|Ky|La|Md|Mass|Mich|Minn|Miss|Mo|Mont|Neb|Nev|N\.H|N\.J"
    r"|N\.M|N\.Y|N\.C|N\.D|Okla|Ore|Pa|R\.I|S\.C|S\.D|Tenn|Tex|Vt|Va|Wash|W\. ?Va|Wis|Wyo)\."
)
_CAPS = re.compile(r"[A-ZА-ЯЁ]{2}")
_NAME_BEFORE = re.compile(r"(?:^|[^.!?:\s\"“])\s(?:[A-Z][a-z]+|[A-Z]\.)[ ]$")
_NAME_AFTER = re.compile(r" [A-Z][a-z]{2,}")
_PREPOSED = re.compile(r"(?:in|In|at|At|from|From|near|Near|to|of|outside|City|central|downtown|Mayor|and)[ ]$")


class Entry(NamedTuple):
    """What one pattern of the automaton may mean; a tuple, since there are 120,000 of them."""

    alias: Alias | None
    """Its meaning as a country; None when it names places only."""
    gated: tuple[Alias, ...]
    """Meanings in articles of one language only."""
    places: tuple[int, ...]
    """Places, most populous first."""
    doubtful: bool
    """As the name of a place it is also a word or a person's name."""
    sure: bool
    """As the name of a place it needs no context: large, the only one of its size, and nothing else."""
    after: re.Pattern[str] | None
    before: re.Pattern[str] | None


@dataclass(frozen=True, slots=True)
class Gazetteer:
    """Region rules, compiled."""

    automaton: ahocorasick_rs.AhoCorasick
    entries: tuple[Entry, ...]
    capitals: ahocorasick_rs.AhoCorasick
    """For titles in capitals."""
    capital_entries: tuple[int, ...]
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionResult:
    """What an article names; `mentions` are in the order title, body, and by position."""

    regions: tuple[RegionTag, ...]
    places: tuple[PlaceTag, ...]
    mentions: tuple[Mention, ...]
    evidence: tuple[Evidence, ...]


@dataclass(slots=True)
class _Hit:
    """A bounded match that may still turn out to mean nothing."""

    start: int
    end: int
    entry: Entry
    alias: Alias | None
    place: int | None = None
    codes: tuple[str, ...] = ()
    weight: float = 0.0
    rule: str = ""


def _automaton(patterns: list[str]) -> ahocorasick_rs.AhoCorasick:
    return ahocorasick_rs.AhoCorasick(
        patterns,
        matchkind=ahocorasick_rs.MatchKind.LeftmostLongest,
        implementation=ahocorasick_rs.Implementation.ContiguousNFA,
        store_patterns=False,
    )


def build_gazetteer(rules: RegionRules) -> Gazetteer:
    """Compile *rules*; takes about half a second for the shipped ones."""
    countries: dict[str, Alias] = {}
    gated: dict[str, list[Alias]] = {}
    for alias in rules.aliases:
        if alias.language is None:
            countries[alias.text] = alias
        else:
            gated.setdefault(alias.text, []).append(alias)
    named: dict[str, list[int]] = {}
    doubtful: dict[str, bool] = {}
    for text, number, doubt in rules.place_aliases:
        known = named.setdefault(text, [])
        if number not in known:
            known.append(number)
        doubtful[text] = doubtful.get(text, True) and doubt
    places = rules.places
    rank = [-_prominence(place) for place in places]
    entries: list[Entry] = []
    patterns = list(dict.fromkeys([*countries, *gated, *named]))
    for text in patterns:
        country, numbers = countries.get(text), named.get(text, ())
        if country is not None and not country.codes:
            numbers = ()
        by_rank = tuple(sorted(numbers, key=rank.__getitem__)) if len(numbers) > 1 else tuple(numbers)
        doubt = doubtful.get(text, False)
        sure = bool(by_rank) and not doubt and _safe(places[by_rank[0]]) and not _rivals(by_rank, places)
        entries.append(
            Entry(
                alias=country,
                gated=tuple(gated.get(text, ())),
                places=by_rank,
                doubtful=doubt,
                sure=sure,
                after=re.compile(country.after) if country and country.after else None,
                before=re.compile(f"(?:{country.before})$") if country and country.before else None,
            )
        )
    upper: dict[str, int] = {}
    for number, (text, entry) in enumerate(zip(patterns, entries, strict=True)):
        if "A" <= text[0] <= "Я" and _in_caps(entry, places):
            upper.setdefault(text.upper(), number)
    return Gazetteer(
        automaton=_automaton(patterns),
        entries=tuple(entries),
        capitals=_automaton(list(upper)),
        capital_entries=tuple(upper.values()),
        places=places,
    )


def _prominence(place: Place) -> int:
    if place.kind == "d":
        return 3_000_000 if place.country in _MAJOR else 100_000
    return place.population + (5_000_000 if place.kind == "C" else 0)


def _in_caps(entry: Entry, places: tuple[Place, ...]) -> bool:
    if entry.alias is not None:
        return entry.alias.in_caps
    return bool(entry.places) and not entry.doubtful and _safe(places[entry.places[0]])


def _safe(place: Place) -> bool:
    if place.kind == "d":
        return place.country in _MAJOR
    return (place.kind == "C" and place.population >= 100_000) or place.population >= _SAFE_CITY


def _hits(text: str, gazetteer: Gazetteer, language: str, *, caps: bool) -> Iterator[_Hit]:
    """Yield what the automaton finds in *text* and the boundaries allow; a refused long name gives way to a shorter."""
    automaton = gazetteer.capitals if caps else gazetteer.automaton
    entries, numbers = gazetteer.entries, gazetteer.capital_entries
    for number, start, end in automaton.find_matches_as_indexes(text):
        entry = entries[numbers[number] if caps else number]
        alias = entry.alias
        if (
            not bounded(text, start, end)
            or (entry.after is not None and entry.after.match(text, end))
            or (entry.before is not None and entry.before.search(text, max(0, start - 32), start))
        ):
            if text[start] >= _UNSPACED or " " in text[start:end]:
                yield from _behind(text, start, end, gazetteer, language, caps=caps)
            continue
        if entry.gated and alias is None:
            alias = next((each for each in entry.gated if each.language == language), None)
        if (alias is not None and not alias.codes) or (alias is None and not entry.places):
            continue
        yield _Hit(start + alias.shift if alias else start, end, entry, alias)


def _behind(text: str, start: int, end: int, gazetteer: Gazetteer, language: str, *, caps: bool) -> Iterator[_Hit]:
    """Yield the shorter names inside a refused one (`Iran` of `Iran Air`ways), or across its end (在[华盛顿])."""
    cut = text.rfind(" ", start, end)
    if cut > start:
        for hit in _hits(text[start:cut], gazetteer, language, caps=caps):
            yield _Hit(start + hit.start, start + hit.end, hit.entry, hit.alias)
    elif is_unspaced(text[start]):
        for hit in _hits(text[start + 1 : end + _BEYOND], gazetteer, language, caps=caps):
            if start + 1 + hit.start < end:
                yield _Hit(start + 1 + hit.start, start + 1 + hit.end, hit.entry, hit.alias)


def _is_person(text: str, hit: _Hit) -> bool:
    """Tell whether a capitalised word beside the doubtful name makes it look like a part of a person's name."""
    if _PREPOSED.search(text, max(0, hit.start - 10), hit.start):
        return False
    return bool(_NAME_BEFORE.search(text, max(0, hit.start - 24), hit.start) or _NAME_AFTER.match(text, hit.end))


def _resolve(text: str, hits: list[_Hit], places: tuple[Place, ...], language: str) -> list[_Hit]:
    """Settle what each hit means: sure ones first, then those that lean on them."""
    known: set[str] = set()
    open_hits: list[_Hit] = []
    behind = _explicit(text, hits, places)
    foreign = language in _OTHER_LATIN
    for hit in hits:
        alias = hit.alias
        if alias is not None:
            if alias.only_with or (hit.entry.places and alias.codes == ("GE",)):
                open_hits.append(hit)
            elif not (foreign and alias.rule == "demonym.en"):
                hit.codes, hit.weight, hit.rule = alias.codes, alias.weight, alias.rule
                known.update(alias.codes if alias.weight > 0.3 else ())
            continue
        first = places[hit.entry.places[0]]
        if behind and text[hit.start : hit.end] in behind:
            _place_in(hit, behind[text[hit.start : hit.end]], places)
            known.update(hit.codes)
        elif hit.entry.sure and (first.kind == "C" or not _is_person(text, hit)):
            _settle(hit, hit.entry.places[0], places)
            known.add(first.country)
        elif not (foreign and (hit.entry.doubtful or not _safe(first))):
            open_hits.append(hit)
    for hit in open_hits:
        _lean(text, hit, known, places)
    return [hit for hit in hits if hit.codes]


def _explicit(text: str, hits: list[_Hit], places: tuple[Place, ...]) -> dict[str, str]:
    """Return the country of each name that the text somewhere explains (`London, Ontario`; `Paris, Tex.`)."""
    behind: dict[str, str] = {}
    for left, right in pairwise(hits):
        if left.alias is None and right.start == left.end + 2 and text.startswith(", ", left.end):
            if right.alias is not None:
                behind[text[left.start : left.end]] = right.alias.codes[0]
            elif places[right.entry.places[0]].kind == "d":
                behind[text[left.start : left.end]] = places[right.entry.places[0]].country
    for hit in hits:
        if hit.alias is None and _STATE.match(text, hit.end):
            behind[text[hit.start : hit.end]] = "US"
    return behind


def _place_in(hit: _Hit, country: str, places: tuple[Place, ...]) -> None:
    """Settle *hit* as the place of that name in *country*; one too small to be known means nothing."""
    for number in hit.entry.places:
        if places[number].country == country:
            _settle(hit, number, places)
            return


def _rivals(numbers: tuple[int, ...], places: tuple[Place, ...]) -> bool:
    """Tell whether a name belongs to places of two countries, none of them much the larger."""
    first = places[numbers[0]]
    return any(
        places[number].country != first.country and _prominence(places[number]) * 5 > _prominence(first)
        for number in numbers[1:3]
    )


def _lean(text: str, hit: _Hit, known: set[str], places: tuple[Place, ...]) -> None:
    """Settle a doubtful hit by what else the text names."""
    alias = hit.alias
    if alias is not None:
        divisions = [number for number in hit.entry.places if places[number].country in known]
        if known.intersection(alias.codes):
            hit.codes, hit.weight, hit.rule = alias.codes, alias.weight, alias.rule
        elif divisions:
            _settle(hit, divisions[0], places)
        elif text[hit.start] < "\u1100" and not _is_person(text, hit):
            hit.codes, hit.weight, hit.rule = alias.codes, alias.weight * 0.7, alias.rule
        return
    for number in hit.entry.places:
        if places[number].country in known:
            if hit.entry.doubtful and _is_person(text, hit):
                return
            _settle(hit, number, places)
            hit.weight = min(hit.weight, 0.3)
            return
    first = places[hit.entry.places[0]]
    if not hit.entry.doubtful and _safe(first) and not _is_person(text, hit):
        _settle(hit, hit.entry.places[0], places)


def _settle(hit: _Hit, number: int, places: tuple[Place, ...]) -> None:
    place = places[number]
    hit.place, hit.codes = number, (place.country,)
    hit.rule = {"C": "capital", "c": "city", "d": "division"}[place.kind]
    hit.weight = {"C": 0.8, "c": 0.5, "d": 0.5}[place.kind]


def _damp_lists(text: str, hits: list[_Hit]) -> None:
    """Make three and more countries in a row (`US, Russia and China`) count less."""
    run: list[_Hit] = []
    end = -1
    for hit in hits:
        if run and not (hit.start - end <= _GAP and _LIST_GAP.fullmatch(text, end, hit.start)):
            _damp(run)
            run = []
        run.append(hit)
        end = hit.end
    _damp(run)


def _damp(run: list[_Hit]) -> None:
    if len(run) >= 3 and len({code for hit in run for code in hit.codes}) >= 3:
        for hit in run:
            hit.weight *= 0.4


def tag_regions(article: Article, gazetteer: Gazetteer) -> RegionResult:
    """Return the countries and places of *article*, each mention, and evidence for each tag."""
    title, body = article.title, article.body
    base = len(title) + 1
    text = f"{title}\n{body}"
    dateline = _DATELINE.match(text, base)
    dateline_end = dateline.end() if dateline and dateline.end() < len(text) else 0
    hits: list[_Hit] = []
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
    hits = _resolve(text, hits, gazetteer.places, article.language)
    _damp_lists(text, hits)
    for hit in hits:
        if base <= hit.start < dateline_end:
            hit.weight, hit.rule = 0.0, "dateline"
    return _result(article, hits, gazetteer.places, base, dateline_end)


def _part(text: str, start: int, end: int, gazetteer: Gazetteer, language: str, *, caps: bool) -> Iterable[_Hit]:
    """Return the hits of text[start:end], at their place in *text*."""
    if start == 0:
        return _hits(text if end == len(text) else text[:end], gazetteer, language, caps=caps)
    part = _hits(text[start:end], gazetteer, language, caps=caps)
    return [_Hit(hit.start + start, hit.end + start, hit.entry, hit.alias) for hit in part]


@dataclass(slots=True)
class _Score:
    total: float = 0.0
    title: float = 0.0
    lead: float = 0.0
    count: int = 0


def _scores(hits: list[_Hit], base: int, lead_end: int) -> dict[str, _Score]:
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


def _result(
    article: Article, hits: list[_Hit], places: tuple[Place, ...], base: int, dateline_end: int
) -> RegionResult:
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


def _mention(article: Article, hit: _Hit, places: tuple[Place, ...], base: int) -> Mention:
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
