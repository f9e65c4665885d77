"""
Tag an article with the topics that are real subjects of it.

A topic's score is the sum of its distinct terms' weights, more for the title and the lead, a little more for repeats,
less for a passing mention deep in a long text. The rules are data: worker/taxonomy/topics/.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.records import Article, Evidence, TopicTag
from worker.terms import OwnedTerm, TermSet, end_of_word, normalise

TAGGED_CHARS = 20_000
"""Of title and body; what stands further down makes no topic."""
MAX_EVIDENCE = 3
TITLE, LEAD, REPEAT = 2.5, 1.5, 0.35
"""Factors of a term whose first mention is in the title or in the lead; and of each doubling of its mentions."""
LEAD_CHARS, SHORT_CHARS = 400, 1_200
"""The lead, and the length up to which a mention in the body counts in full; for spaced scripts."""
ANCHOR = 3.0
"""A topic needs one term of this weight, or else ANCHORLESS times its threshold."""
ANCHORLESS = 2.0
MINOR = 0.3
"""A topic below this share of the article's strongest one is a side remark, unless its words stand in the title."""
DENSITY: Mapping[str, float] = {"zh": 2.5, "ja": 2.2, "ko": 1.8}
"""How much more a character says than in a spaced script."""
_SEPARATOR = "\n\n"
_Meaning = tuple[int, float, str]
"""What a term or group says: topic, weight, rule."""
_Said = tuple[_Meaning, tuple[int, int], int]
"""What a text says by it: where first, and how often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A weighted word or phrase; `*` = any letters up to the end of the word."""

    text: str
    weight: float
    """1 weak to 5 decisive; negative speaks against; 0 is a NOT context, whose text says nothing for the topic."""
    rule: str
    """For evidence: topic, language, running number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Words that say something only near each other: one of each slot, at most *within* characters apart."""

    slots: tuple[tuple[str, ...], ...]
    weight: float
    within: int
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRule:
    """One topic as the taxonomy has it; terms and groups by language, `und` for all languages."""

    slug: str
    threshold: float
    terms: Mapping[str, tuple[Term, ...]] = field(default_factory=dict)
    groups: Mapping[str, tuple[Group, ...]] = field(default_factory=dict)
    hidden: bool = False
    """Never given as a tag: a context that only damps other topics."""
    damped_by: Mapping[str, float] = field(default_factory=dict)
    """That share of the other topic's score is taken off this one's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRules:
    """All topics, and the table from traditional to simplified Han by which Chinese is read."""

    topics: tuple[TopicRule, ...]
    simplified: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicResult:
    """The topics given, strongest first, and why."""

    topics: tuple[TopicTag, ...] = ()
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class _Scorer:
    """Compiled terms of one language."""

    terms: TermSet
    meaning: tuple[_Meaning, ...]
    """By term number; numbers from here on are slots of groups."""
    slots: tuple[tuple[int, int], ...]
    """Group and slot, by term number less len(meaning)."""
    groups: tuple[tuple[int, Group], ...]
    """With the topic of each."""
    simplified: Mapping[int, int]


class TopicIndex:
    """
    Topic rules, shared by all articles; those of a language are compiled when its first article comes.

    Most processes meet a few languages, and all together take longer to compile than an article waits for its own.
    """

    __slots__ = ("_given", "_languages", "_scorers", "numbers", "rules")

    def __init__(self, rules: TopicRules) -> None:
        self.rules = rules.topics
        self.numbers: Mapping[str, int] = {topic.slug: number for number, topic in enumerate(rules.topics)}
        """By slug."""
        self._given = rules
        self._languages = sorted({code for each in rules.topics for code in (*each.terms, *each.groups)} - {"und"})
        self._scorers: dict[str, _Scorer] = {}

    def scorer(self, language: str) -> _Scorer:
        """Return what reads *language*; `und` with all vocabularies, languages without one by terms for all of them."""
        scorer = self._scorers.get(language)
        if scorer is None:
            if not language:
                scorer = _scorer(self._given, ("und",))
            elif language == "und":
                scorer = _scorer(self._given, (*self._languages, "und"))
            elif language in self._languages:
                scorer = _scorer(self._given, (language, "und"))
            else:
                return self.scorer("")
            self._scorers[language] = scorer
        return scorer

    def prepare(self, like: TopicIndex) -> None:
        """Compile now what *like*, which these rules are to follow, has compiled."""
        for language in tuple(like._scorers):
            self.scorer(language)


def _scorer(rules: TopicRules, languages: tuple[str, ...]) -> _Scorer:
    owned: list[OwnedTerm] = []
    meaning: list[_Meaning] = []
    members: list[OwnedTerm] = []
    slots: list[tuple[int, int]] = []
    groups: list[tuple[int, Group]] = []
    for number, topic in enumerate(rules.topics):
        terms = [term for code in languages for term in topic.terms.get(code, ())]
        owned += [OwnedTerm(owner=number, text=term.text, silent=not term.weight) for term in terms]
        meaning += [(number, term.weight, term.rule) for term in terms]
        for group in (group for code in languages for group in topic.groups.get(code, ())):
            for slot, words in enumerate(group.slots):
                owner = (number, len(groups), slot)
                texts = [(word, False) for word in words] + [(term.text, True) for term in terms if not term.weight]
                members += [OwnedTerm(owner=owner, text=text, silent=silent) for text, silent in texts]
                slots += [(len(groups), slot)] * len(texts)
            groups.append((number, group))
    simplified = rules.simplified if {"zh", "und"} >= set(languages) or len(languages) > 2 else {}
    return _Scorer(TermSet(owned + members, simplified), tuple(meaning), tuple(slots), tuple(groups), simplified)


@dataclass(slots=True)
class _Score:
    """What one topic has gathered."""

    total: float = 0.0
    anchored: bool = False
    in_title: bool = False
    spans: list[tuple[int, int, str]] = field(default_factory=list)


def tag_topics(article: Article, index: TopicIndex) -> TopicResult:
    """Return the topics of *article* and the spans that speak for them."""
    scorer = index.scorer(article.language)
    title = article.title
    text = normalise((title + _SEPARATOR + article.body)[:TAGGED_CHARS], scorer.simplified)
    scores = _scores(text, len(title), scorer, DENSITY.get(article.language, 1.0))
    given = _given(scores, index)
    evidence: list[Evidence] = []
    shift = len(title) + len(_SEPARATOR)
    for number, _ in given:
        slug = index.rules[number].slug
        for start, end, name in sorted(scores[number].spans)[:MAX_EVIDENCE]:
            where, source, base = ("title", title, 0) if start < shift else ("body", article.body, shift)
            low, high = start - base, end_of_word(text, end) - base
            evidence.append(
                Evidence(tag=f"topic:{slug}", field=where, start=low, end=high, text=source[low:high], rule=name)
            )
    tags = tuple(_tag(index.rules[number], total, scores[number]) for number, total in given)
    return TopicResult(topics=tags, evidence=tuple(evidence))


def _scores(text: str, title_end: int, scorer: _Scorer, density: float) -> dict[int, _Score]:
    """Return by topic number what *text* says for it."""
    found = _found(text, scorer)
    lead_end = title_end + LEAD_CHARS / density
    body = min(1.0, math.sqrt(SHORT_CHARS / density / max(len(text), 1)))
    scores: dict[int, _Score] = {}
    for (topic, weight, rule), (start, end), count in found:
        score = scores.get(topic)
        if score is None:
            score = scores[topic] = _Score()
        factor = TITLE if start < title_end else LEAD if start < lead_end else body
        if count > 1:
            factor += REPEAT * math.log2(count)
        score.total += weight * factor
        if weight > 0:
            score.spans.append((start, end, rule))
            if weight >= ANCHOR:
                score.anchored = True
                if start < title_end:
                    score.in_title = True
    return scores


def _found(text: str, scorer: _Scorer) -> list[_Said]:
    """Return each distinct term and group in *text*."""
    first: dict[int, tuple[int, int]] = {}
    counts: dict[int, int] = {}
    near: dict[int, list[tuple[int, int]]] = {}
    terms = len(scorer.meaning)
    for number, start, end in scorer.terms.find(text):
        if number >= terms:
            near.setdefault(number, []).append((start, end))
        elif number in counts:
            counts[number] += 1
        else:
            counts[number], first[number] = 1, (start, end)
    found = [(scorer.meaning[number], first[number], count) for number, count in counts.items()]
    return found + _neighbours(near, scorer) if near else found


def _neighbours(near: Mapping[int, list[tuple[int, int]]], scorer: _Scorer) -> list[_Said]:
    """Return the groups whose slots are all filled close enough to each other."""
    filled: dict[int, dict[int, list[tuple[int, int]]]] = {}
    for term, spans in near.items():
        which, slot = scorer.slots[term - len(scorer.meaning)]
        filled.setdefault(which, {}).setdefault(slot, []).extend(spans)
    found = []
    for number, by_slot in filled.items():
        topic, group = scorer.groups[number]
        if len(by_slot) < len(group.slots):
            continue
        first, *others = (sorted(by_slot[slot]) for slot in range(len(group.slots)))
        closest = [
            (start, end)
            for start, end in first
            if all(any(s - group.within <= end and start <= e + group.within for s, e in other) for other in others)
        ]
        if closest:
            found.append(((topic, group.weight, group.rule), closest[0], len(closest)))
    return found


def _given(scores: Mapping[int, _Score], index: TopicIndex) -> list[tuple[int, float]]:
    """Return number and final score of the topics that are real subjects, strongest first."""
    rules, numbers = index.rules, index.numbers
    totals: dict[int, float] = {}
    for number, score in scores.items():
        total = score.total
        for slug, share in rules[number].damped_by.items():
            other = scores.get(numbers.get(slug, -1))
            if other is not None and other.anchored:
                total -= share * other.total
        totals[number] = total
    strongest = max((total for number, total in totals.items() if not rules[number].hidden), default=0.0)
    given = []
    for number, total in totals.items():
        rule, score = rules[number], scores[number]
        needed = rule.threshold * (1.0 if score.anchored else ANCHORLESS)
        if rule.hidden or total < needed or (total < MINOR * strongest and not score.in_title):
            continue
        given.append((number, total))
    return sorted(given, key=lambda item: (-item[1], rules[item[0]].slug))


def _tag(rule: TopicRule, total: float, score: _Score) -> TopicTag:
    """Relevance is 25 at the threshold and nears 100; confidence also asks for several terms that agree."""
    times = total / rule.threshold
    agreeing = min(len({name for _, _, name in score.spans}), 6) / 6
    certainty = 1 - math.exp(-0.7 * times)
    return TopicTag(
        slug=rule.slug,
        relevance=min(100, max(1, round(100 * (1 - math.exp(-times / 3.5))))),
        confidence=min(99, max(1, round(100 * certainty * (0.6 + 0.4 * agreeing)))),
    )
