"""
Settle what each recognised name means (toponym resolution), by what else the text names.

Names that are also words or people's names count only where the text names their country otherwise.
"""

from __future__ import annotations

import re
from itertools import pairwise

from worker.gazetteer import Place
from worker.toponyms import Hit, is_safe

_LIST_GAP = re.compile(r"\s*(?:,? and (?:the )?|,|、|·|・|和|及|与|與|와 |과 |, и | и |や|&)\s*(?:the )?")
_GAP = 10
"""The most characters between two names of a list."""
_OTHER_LATIN = frozenset("pl cs de fr es it pt nl sv da no fi tr ro hu hr sk sl vi id lt lv et".split())
"""In articles of these languages English demonyms and doubtful names of places are not read."""
_STATE = re.compile(
    r",? (?:Ala|Ariz|Ark|Calif|Colo|Conn|Del|Fla|Ga|Ill|Ind|Kan|Ky|La|Md|Mass|Mich|Minn|Miss|Mo|Mont|Neb|Nev|N\.H|N\.J"
    r"|N\.M|N\.Y|N\.C|N\.D|Okla|Ore|Pa|R\.I|S\.C|S\.D|Tenn|Tex|Vt|Va|Wash|W\. ?Va|Wis|Wyo)\."
)
_NAME_BEFORE = re.compile(r"(?:^|[^.!?:\s\"“])\s(?:[A-Z][a-z]+|[A-Z]\.)[ ]$")
_NAME_AFTER = re.compile(r" [A-Z][a-z]{2,}")
_PREPOSED = re.compile(r"(?:in|In|at|At|from|From|near|Near|to|of|outside|City|central|downtown|Mayor|and)[ ]$")


def _is_person(text: str, hit: Hit) -> bool:
    """Tell whether a capitalised word beside the doubtful name makes it look like a part of a person's name."""
    if _PREPOSED.search(text, max(0, hit.start - 10), hit.start):
        return False
    return bool(_NAME_BEFORE.search(text, max(0, hit.start - 24), hit.start) or _NAME_AFTER.match(text, hit.end))


def resolve(text: str, hits: list[Hit], places: tuple[Place, ...], language: str) -> list[Hit]:
    """Settle what each hit means: sure ones first, then those that lean on them."""
    known: set[str] = set()
    open_hits: list[Hit] = []
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
        elif not (foreign and (hit.entry.doubtful or not is_safe(first))):
            open_hits.append(hit)
    for hit in open_hits:
        _lean(text, hit, known, places)
    return [hit for hit in hits if hit.codes]


def _explicit(text: str, hits: list[Hit], places: tuple[Place, ...]) -> dict[str, str]:
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


def _place_in(hit: Hit, country: str, places: tuple[Place, ...]) -> None:
    """Settle *hit* as the place of that name in *country*; one too small to be known means nothing."""
    for number in hit.entry.places:
        if places[number].country == country:
            _settle(hit, number, places)
            return


def _lean(text: str, hit: Hit, known: set[str], places: tuple[Place, ...]) -> None:
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
    if not hit.entry.doubtful and is_safe(first) and not _is_person(text, hit):
        _settle(hit, hit.entry.places[0], places)


def _settle(hit: Hit, number: int, places: tuple[Place, ...]) -> None:
    place = places[number]
    hit.place, hit.codes = number, (place.country,)
    hit.rule = {"C": "capital", "c": "city", "d": "division"}[place.kind]
    hit.weight = {"C": 0.8, "c": 0.5, "d": 0.5}[place.kind]


def damp_lists(text: str, hits: list[Hit]) -> None:
    """Make three and more countries in a row (`US, Russia and China`) count less."""
    run: list[Hit] = []
    end = -1
    for hit in hits:
        if run and not (hit.start - end <= _GAP and _LIST_GAP.fullmatch(text, end, hit.start)):
            _damp(run)
            run = []
        run.append(hit)
        end = hit.end
    _damp(run)


def _damp(run: list[Hit]) -> None:
    if len(run) >= 3 and len({code for hit in run for code in hit.codes}) >= 3:
        for hit in run:
            hit.weight *= 0.4
