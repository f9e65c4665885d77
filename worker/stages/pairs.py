"""
Tag the relations of two countries that an article is about.

A pair is named by its abbreviation (中朝, 북중), by a compound (US-China), or by both sides in one sentence with a word
that tells a relation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations, pairwise

import ahocorasick_rs

from worker.gazetteer import PairRules
from worker.records import Article, Evidence, Mention, PairTag, RegionTag
from worker.text import fold, sentence_ends_between

MAX_COUNTRIES = 5
"""Of how many countries that an article is about pairs are sought."""
EVIDENCE = 3
_JOIN = re.compile(r"\s?[-–‐—/·・]\s?")
_STOP = re.compile(r"[。！？\n]|[.!?](?=\s)")
_LONGEST = 300
"""Characters between two mentions of one sentence, and around them, that are looked at."""
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


@dataclass(frozen=True, slots=True)
class _Cues:
    automaton: ahocorasick_rs.AhoCorasick
    kinds: tuple[str, ...]

    def find(self, text: str, start: int, end: int) -> dict[str, tuple[int, int]]:
        """Return by type of relation the span of its first cue in text[start:end]."""
        part = fold(text[start:end])
        found: dict[str, tuple[int, int]] = {}
        for number, left, right in self.automaton.find_matches_as_indexes(part):
            if part[left] < "\u1100" and left and part[left - 1].isalpha():
                continue
            found.setdefault(self.kinds[number], (start + left, start + right))
        return found


@lru_cache(maxsize=4)
def _compiled(cues: tuple[tuple[str, tuple[str, ...]], ...]) -> _Cues:
    kinds = {word: kind for kind, words in reversed(cues) for word in words}
    automaton = ahocorasick_rs.AhoCorasick(list(kinds), matchkind=ahocorasick_rs.MatchKind.LeftmostLongest)
    return _Cues(automaton, tuple(kinds.values()))


def tag_pairs(
    article: Article, mentions: Sequence[Mention], regions: Sequence[RegionTag], rules: PairRules
) -> PairResult:
    """Return the pairs of *article*, given what the region tagger said of it."""
    about = [tag.code for tag in regions if tag.about][:MAX_COUNTRIES]
    allowed = {tuple(sorted(pair)) for pair in combinations(about, 2)}
    if not allowed:
        return PairResult(pairs=(), evidence=())
    cues = _compiled(tuple(rules.cues.items()))
    wanted = frozenset(about)
    found: dict[tuple[str, ...], _Found] = {}
    for name, text, boost in (("title", article.title, 3.0), ("body", article.body, 1.0)):
        here = [
            each for each in mentions if each.field == name and each.weight > 0 and not wanted.isdisjoint(each.codes)
        ]
        if here:
            _search(name, text, here, allowed=allowed, cues=cues, boost=boost, found=found)
    tags = []
    evidence: list[Evidence] = []
    for codes, pair in sorted(found.items(), key=lambda item: (-item[1].score, item[0])):
        told = {kind: score for kind, score in pair.types.items() if kind is not None}
        kind = max(told, key=lambda each: told[each]) if told else None
        relevance = round(40 + 60 * pair.score / (pair.score + 3))
        tags.append(PairTag(code="-".join(codes), type=kind, relevance=relevance))
        evidence.extend(pair.evidence)
    return PairResult(pairs=tuple(tags), evidence=tuple(evidence))


def _search(
    name: str,
    text: str,
    mentions: list[Mention],
    *,
    allowed: set[tuple[str, ...]],
    cues: _Cues,
    boost: float,
    found: dict[tuple[str, ...], _Found],
) -> None:
    """Add to *found* what the sentences of one field say."""
    for here in _by_sentence(text, mentions):
        codes = {code for mention in here for code in mention.codes}
        pairs = [pair for pair in allowed if codes.issuperset(pair)]
        if not pairs:
            continue
        start, end = _around(text, here)
        kinds = cues.find(text, start, end)
        weight = boost * (1.6 if start < _LEAD and name == "body" else 1.0)
        for pair in pairs:
            span, rule = _compound(text, here, pair)
            if span is None and not kinds:
                continue
            entry = found.get(pair)
            if entry is None:
                entry = found[pair] = _Found()
            entry.score += weight * (1.5 if span else 1.0)
            for kind in kinds:
                # A diplomatic word stands in most sentences on two states: it tells less than the others.
                entry.types[kind] = entry.types.get(kind, 0.0) + weight * (0.6 if kind == "diplomacy" else 1.0)
            if len(entry.evidence) == EVIDENCE:
                continue
            left, right = span or next(iter(kinds.values()))
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


def _by_sentence(text: str, mentions: list[Mention]) -> list[list[Mention]]:
    """Group mentions that stand in one sentence; only the text between neighbours is looked at."""
    groups = [[mentions[0]]]
    for left, right in pairwise(mentions):
        gap = right.start - left.end
        same = gap <= _LONGEST and (
            not _STOP.search(text, left.end, right.start) or not sentence_ends_between(text, left.end, right.start)
        )
        if same:
            groups[-1].append(right)
        else:
            groups.append([right])
    return groups


def _around(text: str, here: list[Mention]) -> tuple[int, int]:
    """Return where the sentence around mentions begins and ends; a stop after an abbreviation may cut it short."""
    first, last = here[0].start, here[-1].end
    start = max(0, first - _LONGEST)
    for match in _STOP.finditer(text, start, first):
        start = match.end()
    stop = _STOP.search(text, last, last + _LONGEST)
    return start, stop.start() if stop else min(len(text), last + _LONGEST)


def _compound(text: str, here: list[Mention], pair: tuple[str, ...]) -> tuple[tuple[int, int] | None, str]:
    """Return the span of an abbreviation or compound of *pair* among the mentions of a sentence."""
    for mention in here:
        if mention.codes == pair:
            return (mention.start, mention.end), "pair.abbreviation"
    for left, right in pairwise(here):
        if {*left.codes, *right.codes} == set(pair) and _JOIN.fullmatch(text, left.end, right.start):
            return (left.start, right.end), "pair.compound"
    return None, ""
