"""
Tag the relations of two countries that an article is about.

A pair is named by its abbreviation (中朝, 북중), by a compound (US-China), or by both sides in one sentence with a word
that tells a relation.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations, pairwise

from worker.gazetteer import PairRules
from worker.records import Article, Evidence, Mention, PairTag, RegionTag
from worker.text import fold, sentences

MAX_COUNTRIES = 5
"""Of how many countries that an article is about pairs are sought."""
EVIDENCE = 3
_JOIN = re.compile(r"\s?[-–‐—/·・]\s?")
_LEAD = 450


@dataclass(frozen=True, slots=True, kw_only=True)
class PairResult:
    """The pairs, strongest first, and why."""

    pairs: tuple[PairTag, ...]
    evidence: tuple[Evidence, ...]


@dataclass(slots=True)
class _Found:
    score: float = 0.0
    types: dict[str | None, float] = field(default_factory=dict)
    evidence: list[Evidence] = field(default_factory=list)


@lru_cache(maxsize=4)
def _cue_pattern(cues: tuple[tuple[str, tuple[str, ...]], ...]) -> re.Pattern[str]:
    """Return one pattern of all cues, a named group for each type."""
    groups = []
    for kind, words in cues:
        parts = sorted(words, key=len, reverse=True)
        forms = [rf"(?<!\w){re.escape(word)}" if word[0] < "\u1100" else re.escape(word) for word in parts]
        groups.append(f"(?P<{kind}>{'|'.join(forms)})")
    return re.compile("|".join(groups) or r"(?!)")


def tag_pairs(
    article: Article, mentions: Sequence[Mention], regions: Sequence[RegionTag], rules: PairRules
) -> PairResult:
    """Return the pairs of *article*, given what the region tagger said of it."""
    about = [tag.code for tag in regions if tag.about][:MAX_COUNTRIES]
    allowed = {tuple(sorted(pair)) for pair in combinations(about, 2)}
    if not allowed:
        return PairResult(pairs=(), evidence=())
    pattern = _cue_pattern(tuple(rules.cues.items()))
    found: dict[tuple[str, ...], _Found] = {}
    for name, text, boost in (("title", article.title, 3.0), ("body", article.body, 1.0)):
        here = [mention for mention in mentions if mention.field == name and mention.weight > 0]
        if here:
            _search(name, text, here, allowed, pattern, boost, found)
    tags = []
    evidence: list[Evidence] = []
    for codes, pair in sorted(found.items(), key=lambda item: (-item[1].score, item[0])):
        told = {kind: score for kind, score in pair.types.items() if kind is not None}
        kind = max(told, key=lambda each: told[each]) if told else None
        relevance = round(40 + 60 * pair.score / (pair.score + 3))
        tags.append(PairTag(code="-".join(codes), type=kind, relevance=relevance))
        evidence.extend(pair.evidence[:EVIDENCE])
    return PairResult(pairs=tuple(tags), evidence=tuple(evidence))


def _search(
    name: str,
    text: str,
    mentions: list[Mention],
    allowed: set[tuple[str, ...]],
    pattern: re.Pattern[str],
    boost: float,
    found: dict[tuple[str, ...], _Found],
) -> None:
    """Add to *found* what the sentences of one field say."""
    spans = sentences(text)
    starts = [start for start, _ in spans]
    by_sentence: dict[int, list[Mention]] = {}
    for mention in mentions:
        by_sentence.setdefault(max(0, bisect_right(starts, mention.start) - 1), []).append(mention)
    folded: str | None = None
    for number, here in by_sentence.items():
        codes = {code for mention in here for code in mention.codes}
        pairs = [pair for pair in allowed if codes.issuperset(pair)]
        if not pairs:
            continue
        folded = folded or fold(text)
        start, end = spans[number]
        kinds: dict[str, re.Match[str]] = {}
        for match in pattern.finditer(folded, start, end):
            if match.lastgroup is not None:
                kinds.setdefault(match.lastgroup, match)
        weight = boost * (1.6 if start < _LEAD and name == "body" else 1.0)
        for pair in pairs:
            span, rule = _compound(text, here, pair)
            if span is None and not kinds:
                continue
            entry = found.setdefault(pair, _Found())
            entry.score += weight * (1.5 if span else 1.0)
            for kind in kinds:
                # A diplomatic word stands in most sentences on two states: it tells less than the others.
                entry.types[kind] = entry.types.get(kind, 0.0) + weight * (0.6 if kind == "diplomacy" else 1.0)
            left, right = span or _cue_span(next(iter(kinds.values())))
            entry.evidence.append(
                Evidence(
                    tag=f"pair:{'-'.join(pair)}",
                    field=name,
                    start=left,
                    end=right,
                    text=text[left:right],
                    rule=rule or f"cue.{next(iter(kinds))}",
                )
            )


def _cue_span(match: re.Match[str]) -> tuple[int, int]:
    return match.start(), match.end()


def _compound(text: str, here: list[Mention], pair: tuple[str, ...]) -> tuple[tuple[int, int] | None, str]:
    """Return the span of an abbreviation or compound of *pair* among the mentions of a sentence."""
    for mention in here:
        if mention.codes == pair:
            return (mention.start, mention.end), "pair.abbreviation"
    for left, right in pairwise(here):
        if {*left.codes, *right.codes} == set(pair) and _JOIN.fullmatch(text, left.end, right.start):
            return (left.start, right.end), "pair.compound"
    return None, ""
