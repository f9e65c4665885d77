"""
Read the data files of regions, places and pairs into rules.

Files of a folder: countries.yaml, phrases.yaml, pairs.yaml, names.tsv, places.tsv.gz. A folder of the user's may add
`regions.d/*.yaml` of the form of countries.yaml. Names that a file leaves open are inflected here.
"""

from __future__ import annotations

import gzip
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from worker import inflection
from worker.edges import yaml_file
from worker.gazetteer import Alias, PairRules, Place, RegionRules, ends_with

WEIGHTS = {"name": 1.0, "adj": 0.9, "people": 0.9, "metonym": 0.5, "leader": 0.4}
_CODE = re.compile(r"[A-Z]{2}")
_EVERYWHERE = frozenset({"en", "zh", "ko", "ja", "ru", "uk", "bg", "ar"})
"""Names of these languages are read in every article; those of the others (de `Niger`, fr `Maurice`) only in theirs."""
_INFLECTED_CITY = 300_000
"""Cities with at least so many inhabitants, and capitals, get the cases of their Russian names."""
_RUSSIAN = re.compile(r"[А-ЯЁ][а-яё\-]+")
_RULES = {"name": "country", "adj": "demonym", "people": "demonym", "metonym": "metonym", "leader": "leader"}


def _list(value: object) -> list[str]:
    """Split `a | b`; nothing else is a list here."""
    parts = value.split("|") if isinstance(value, str) else []
    return [unicodedata.normalize("NFC", part.strip()) for part in parts if part.strip()]


def _forms(text: str, kind: str, language: str) -> Iterable[str]:
    """Return all forms of one entry of countries.yaml."""
    if language == "ar":
        return inflection.arabic(text)
    if language in inflection.LANGUAGES:
        if kind == "adj":
            return inflection.adjective(text, language)
        return inflection.inhabitant(text) if kind == "people" else inflection.name(text, language)
    if language == "en" and kind == "adj" and not text.endswith(("s", "sh", "ch", "ese", "men", "man")):
        return (text, text + "s")
    return (text,)


def _countries(document: yaml_file.Document) -> Iterator[Alias]:
    """Yield the aliases of one file of the form of countries.yaml; faults stay in the document."""
    data = document.take(dict[str, dict[str, dict[str, str]]])
    for code, languages in (data or {}).items():
        if not _CODE.fullmatch(code):
            document.fault(f"{code!r} is not an ISO 3166-1 alpha-2 code", code)
        for language, kinds in languages.items():
            document.unknown(set(WEIGHTS), code, language)
            gate = None if language in _EVERYWHERE else language
            for kind, weight in WEIGHTS.items():
                for text in _list(kinds.get(kind)):
                    rule = f"{_RULES[kind]}.{language}"
                    caps = kind != "leader" and text != "US"
                    for form in _forms(text, kind, language):
                        yield Alias(text=form, codes=(code,), rule=rule, weight=weight, language=gate, in_caps=caps)


def _territories(folder: Path) -> Iterator[Alias]:
    """Yield CLDR's names, inflected where the language does that."""
    for line in (folder / "names.tsv").read_text(encoding="utf-8").splitlines():
        code, language, text = line.split("\t")
        gate = None if language in _EVERYWHERE else language
        if language == "ar":
            forms = inflection.arabic(text)
        else:
            forms = inflection.name(text, language) if language in inflection.LANGUAGES else [text]
        for form in forms:
            yield Alias(text=form, codes=(code,), rule=f"country.{language}", language=gate)


def _phrases(document: yaml_file.Document) -> Iterator[Alias]:
    """Yield what is consumed, what is weak, and prefixes."""
    for language, text in (document.take(dict[str, str], "silent") or {}).items():
        for phrase in _list(text):
            yield Alias(text=phrase, codes=(), rule=f"silent.{language}")
    for code, text in (document.take(dict[str, str], "weak") or {}).items():
        for phrase in _list(text):
            yield Alias(text=phrase, codes=(code,), rule="agency", weight=0.2)
    for code, text in (document.take(dict[str, str], "prefix") or {}).items():
        for phrase in _list(text):
            yield Alias(text=phrase, codes=(code,), rule="prefix", weight=0.9, after="[^\\-–‐]|$")


def _guarded(aliases: Iterable[Alias], document: yaml_file.Document) -> Iterator[Alias]:
    """Add the guards to the aliases that have some."""
    guards = document.take(dict[str, dict[str, str]], "guards") or {}
    for name, guard in guards.items():
        document.unknown({"before", "after"}, "guards", name)
        for side, pattern in guard.items():
            try:
                re.compile(ends_with(pattern) if side == "before" else pattern)
            except re.error as error:
                document.fault(f"not a regular expression: {error}", "guards", name, side)
    document.check()
    doubtful = frozenset(_list(document.take(str, "only_with")))
    for alias in aliases:
        guard = guards.get(alias.text, {})
        if not guard and alias.text not in doubtful:
            yield alias
            continue
        yield Alias(
            text=alias.text,
            codes=alias.codes,
            rule=alias.rule,
            weight=alias.weight,
            language=alias.language,
            in_caps=alias.in_caps,
            after=guard.get("after", alias.after),
            before=guard.get("before", alias.before),
            only_with=alias.text in doubtful,
        )


def _pairs(document: yaml_file.Document, countries: Iterable[str]) -> Iterator[Alias]:
    """Yield pair abbreviations, and for 集中朝鲜 the name behind a character that only looks like one of them."""
    follow = "|".join(map(re.escape, _list(document.take(str, "follow"))))
    data = document.take(dict[str, str], "abbreviations") or {}
    names = [name for name in countries if len(name) > 1 and "\u4e00" <= name[0] <= "\u9fff"]
    for code, text in data.items():
        codes = tuple(sorted(code.split("-")))
        if len(codes) != 2 or not all(map(_CODE.fullmatch, codes)):
            document.fault(f"{code!r} is not a pair of ISO 3166-1 codes such as CN-KP", "abbreviations", code)
            continue
        for short in _list(text):
            dense = len(short) == 2
            after = f"(?!.{{0,2}}(?:{follow}))[\u4e00-\u9fff가-힣]" if dense else None
            before = (
                "[集其空心当當年高初途之期今昨明每近曜毎0-9０-９一二三四五六七八九十]$" if short[0] in "中日" else None
            )
            yield Alias(text=short, codes=codes, rule="pair", weight=0.9, after=after, before=before)
            if "\u4e00" <= short[0] <= "\u9fff" and dense:
                for name in names:
                    if name[0] == short[1]:
                        yield Alias(text=short[0] + name, codes=(name,), rule="shift", shift=1)


def _resolved(aliases: Iterable[Alias]) -> tuple[Alias, ...]:
    """Return one alias for each (text, language), the first given winning; shifted ones get what they shift to."""
    found: dict[tuple[str, str | None], Alias] = {}
    shifted: list[Alias] = []
    for alias in aliases:
        if alias.shift:
            shifted.append(alias)
        else:
            found.setdefault((alias.text, alias.language), alias)
    for alias in shifted:
        target = found[alias.codes[0], None]
        if (alias.text, None) not in found:
            found[alias.text, None] = Alias(
                text=alias.text, codes=target.codes, rule=target.rule, weight=target.weight, shift=alias.shift
            )
    return tuple(found.values())


def _places(folder: Path, more: dict[str, str]) -> tuple[tuple[Place, ...], tuple[tuple[str, int, bool], ...]]:
    """Read places.tsv.gz; *more* gives further names by id."""
    places: list[Place] = []
    aliases: list[tuple[str, int, bool]] = []
    with gzip.open(folder / "places.tsv.gz", "rt", encoding="utf-8") as file:
        for number, line in enumerate(file):
            ident, kind, country, _, population, name, names = line.rstrip("\n").split("\t")
            place = Place(id=ident, kind=kind, country=country, population=int(population), name=name)
            places.append(place)
            inflect = kind == "C" or place.population >= _INFLECTED_CITY or (kind == "d" and country == "RU")
            given = _list(more.get(ident))
            for alias in (*given, *names.split("|")):
                doubtful = alias.startswith("?")
                text = alias.removeprefix("?")
                if len(text) < 2:
                    continue
                aliases.append((text, number, doubtful))
                if inflect and _RUSSIAN.fullmatch(text):
                    aliases.extend((form, number, doubtful) for form in inflection.noun(text, "ru"))
    return tuple(places), tuple(aliases)


def load_regions(folder: Path, own: Path | None = None) -> tuple[RegionRules, PairRules]:
    """
    Read the region, place and pair rules of *folder*; a user's *own* folder may add `regions.d/*.yaml`.

    Its phrases.yaml or pairs.yaml, where there is one, stands for that of *folder*.

    Raises: yaml_file.FileFaults: with all faults found, by file and line.
    """
    documents = [yaml_file.read(folder / "countries.yaml")]
    for home in (folder, own) if own else (folder,):
        documents += [yaml_file.read(path) for path in sorted((home / "regions.d").glob("*.yaml"))]
    phrases, pairs = (
        yaml_file.read(own / name if own and (own / name).exists() else folder / name)
        for name in ("phrases.yaml", "pairs.yaml")
    )
    named = [alias for document in documents for alias in _countries(document)]
    named += _territories(folder)
    more = phrases.take(dict[str, str], "places") or {}
    aliases = [*_phrases(phrases), *_pairs(pairs, {alias.text for alias in named}), *named]
    cues = {kind: tuple(_list(text)) for kind, text in (pairs.take(dict[str, str], "cues") or {}).items()}
    guarded = [*_guarded(aliases, phrases)]
    faults = [fault for document in (*documents, phrases, pairs) for fault in document.faults]
    if faults:
        raise yaml_file.FileFaults(faults)
    places, place_aliases = _places(folder, more)
    rules = RegionRules(aliases=_resolved(guarded), places=places, place_aliases=place_aliases)
    return rules, PairRules(cues=cues)
