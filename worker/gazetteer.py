"""
The rules of the region and pair taggers as plain values, and how a name may stand in a text.

Pure; shared by the stages that use the rules and by the edge that reads them from files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_KATAKANA = re.compile(r"[\u30a1-\u30fa\u30fc\uff66-\uff9f]")
_UNSPACED_FROM = "\u1100"
"""Code points from here on (Hangul, Han, Kana) never glue to a Latin or Cyrillic word before them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """One way to name countries. No codes: the text is consumed and says nothing."""

    text: str
    codes: tuple[str, ...]
    rule: str
    weight: float = 1.0
    language: str | None = None
    """Read only in articles of this language, where set."""
    in_caps: bool = True
    """May be read in a title that is all capitals."""
    after: str | None = None
    """Regular expression: what must not follow directly."""
    before: str | None = None
    """Regular expression: what must not stand directly before."""
    only_with: bool = False
    """Also a common word or a person's name: counts only where something else in the text names the country."""
    shift: int = 0
    """How many characters at the start belong to the word before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A city, capital or first-level division."""

    id: str
    kind: str
    """`C` capital, `c` city, `d` division."""
    country: str
    population: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionRules:
    """All that the region tagger knows."""

    aliases: tuple[Alias, ...]
    places: tuple[Place, ...]
    place_aliases: tuple[tuple[str, int, bool], ...]
    """(alias, index into places, is it also a common word or a person's name)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRules:
    """All that the pair tagger knows."""

    cues: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By type of relation, most telling type first: words, lower case; in spaced scripts the start of a word."""


def ends_with(pattern: str) -> str:
    """Return the expression that finds *pattern* where a text ends; what `Alias.before` stands for."""
    return f"(?:{pattern})$"


def bounded(text: str, start: int, end: int) -> bool:
    """
    Tell whether text[start:end] stands as a name in its script.

    As text.stands_alone, but a Katakana name must not go on in Katakana (タイ in タイトル), and ranges are compared
    instead of regular expressions: this runs for every raw hit.
    """
    first, last = text[start], text[end - 1]
    before = text[start - 1] if start else " "
    after = text[end] if end < len(text) else " "
    if first < _UNSPACED_FROM:
        if before.isalnum() and before < _UNSPACED_FROM:
            return False
    elif "\uac00" <= first <= "\ud7a3":
        if "\uac00" <= before <= "\ud7a3":
            return False
    elif "\u30a1" <= first <= "\u30fc" and _KATAKANA.match(before):
        return False
    if last < _UNSPACED_FROM:
        return not ((after.isalnum() and after < _UNSPACED_FROM) or after == "_")
    if "\u30a1" <= last <= "\u30fc" and _KATAKANA.match(after):
        return end - start >= 4 and "\u30a1" <= first <= "\u30fc"
    return True
