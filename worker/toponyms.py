"""
Recognise the names of countries and places in a text (toponym recognition): what each may mean, not yet what it does.

One automaton over all names, leftmost-longest on the text as it is; a match consumes its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import ahocorasick_rs

from worker.gazetteer import Alias, Place, RegionRules, bounded, ends_with
from worker.text import is_unspaced

_SAFE_CITY = 250_000
"""A city of at least so many inhabitants, with a name that is nothing else, names its country by itself."""
_BEYOND = 8
"""Characters behind a refused name that a name across its end may take."""
_UNSPACED = "\u2e80"
"""From here on scripts write no spaces between words."""
_MAJOR = frozenset("US CN RU JP KR KP IN CA AU DE UA GB BR MX IT ES PK ID TR VN TW IQ MM".split())
"""States whose first-level divisions the news names without naming the state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one pattern of the automaton may mean."""

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


@dataclass(slots=True)
class Hit:
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


class Gazetteer:
    """
    Region rules, compiled: takes about half a second for the shipped ones.

    What a name may mean is worked out when a text first has it: of 120,000 names most processes meet a few thousand.
    """

    __slots__ = (
        "_countries",
        "_doubtful",
        "_gated",
        "_named",
        "_patterns",
        "_rank",
        "_safe",
        "automaton",
        "capital_entries",
        "capitals",
        "entries",
        "places",
    )

    def __init__(self, rules: RegionRules) -> None:
        self.places = rules.places
        self._countries = {alias.text: alias for alias in rules.aliases if alias.language is None}
        self._gated: dict[str, list[Alias]] = {}
        for alias in rules.aliases:
            if alias.language is not None:
                self._gated.setdefault(alias.text, []).append(alias)
        self._named: dict[str, tuple[int, ...]] = {}
        named, plain = self._named, set()
        for text, number, doubtful in rules.place_aliases:
            known = named.get(text)
            if known is None:
                named[text] = (number,)
            elif number not in known:
                named[text] = (*known, number)
            if not doubtful:
                plain.add(text)
        self._doubtful = named.keys() - plain
        self._rank = [-_prominence(place) for place in self.places]
        self._safe = [is_safe(place) for place in self.places]
        self._patterns = list(dict.fromkeys([*self._countries, *self._gated, *named]))
        self.automaton = _automaton(self._patterns)
        self.entries: list[Entry | None] = [None] * len(self._patterns)
        """By pattern; None as long as no text had it."""
        upper = self._upper()
        self.capitals = _automaton(list(upper))
        """For titles in capitals."""
        self.capital_entries = list(upper.values())

    def _upper(self) -> dict[str, int]:
        """Return in capitals the names that may be read so, with their patterns' numbers."""
        countries, named, safe = self._countries, self._named, self._safe
        upper: dict[str, int] = {}
        for number, text in enumerate(self._patterns):
            if not "A" <= text[0] <= "Я":
                continue
            country = countries.get(text)
            if country is not None:
                wanted = country.in_caps
            elif (numbers := named.get(text)) is None or text in self._doubtful:
                wanted = False
            else:
                wanted = safe[numbers[0] if len(numbers) == 1 else min(numbers, key=self._rank.__getitem__)]
            if wanted:
                upper.setdefault(text.upper(), number)
        return upper

    def learn(self, number: int) -> Entry:
        """Return what pattern *number* may mean, and keep it in `entries`."""
        text = self._patterns[number]
        country = self._countries.get(text)
        numbers: Iterable[int] = self._named.get(text, ())
        if country is not None and not country.codes:
            numbers = ()
        by_rank = tuple(sorted(numbers, key=self._rank.__getitem__))
        doubtful = text in self._doubtful
        names_large = bool(by_rank) and not doubtful and self._safe[by_rank[0]]
        entry = self.entries[number] = Entry(
            alias=country,
            gated=tuple(self._gated.get(text, ())),
            places=by_rank,
            doubtful=doubtful,
            sure=names_large and not _rivals(by_rank, self.places),
            after=re.compile(country.after) if country and country.after else None,
            before=re.compile(ends_with(country.before)) if country and country.before else None,
        )
        return entry


def _prominence(place: Place) -> int:
    if place.kind == "d":
        return 3_000_000 if place.country in _MAJOR else 100_000
    return place.population + (5_000_000 if place.kind == "C" else 0)


def is_safe(place: Place) -> bool:
    """Tell whether the name of *place*, where it means nothing else, needs no context."""
    if place.kind == "d":
        return place.country in _MAJOR
    return (place.kind == "C" and place.population >= 100_000) or place.population >= _SAFE_CITY


def hits_in(text: str, gazetteer: Gazetteer, language: str, *, caps: bool) -> Iterator[Hit]:
    """Yield what the automaton finds in *text* and the boundaries allow; a refused long name gives way to a shorter."""
    automaton = gazetteer.capitals if caps else gazetteer.automaton
    entries, in_capitals = gazetteer.entries, gazetteer.capital_entries
    for found, start, end in automaton.find_matches_as_indexes(text):
        number = in_capitals[found] if caps else found
        entry = entries[number] or gazetteer.learn(number)
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
        yield Hit(start + alias.shift if alias else start, end, entry, alias)


def _behind(text: str, start: int, end: int, gazetteer: Gazetteer, language: str, *, caps: bool) -> Iterator[Hit]:
    """Yield the shorter names inside a refused one (`Iran` of `Iran Air`ways), or across its end (在[华盛顿])."""
    cut = text.rfind(" ", start, end)
    if cut > start:
        for hit in hits_in(text[start:cut], gazetteer, language, caps=caps):
            yield Hit(start + hit.start, start + hit.end, hit.entry, hit.alias)
    elif is_unspaced(text[start]):
        for hit in hits_in(text[start + 1 : end + _BEYOND], gazetteer, language, caps=caps):
            if start + 1 + hit.start < end:
                yield Hit(start + 1 + hit.start, start + 1 + hit.end, hit.entry, hit.alias)


def _rivals(numbers: tuple[int, ...], places: tuple[Place, ...]) -> bool:
    """Tell whether a name belongs to places of two countries, none of them much the larger."""
    first = places[numbers[0]]
    return any(
        places[number].country != first.country and _prominence(places[number]) * 5 > _prominence(first)
        for number in numbers[1:3]
    )
