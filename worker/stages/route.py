"""
Decide on which routes a story goes: each route is a name and a condition on what is known of the story.

The conditions are data: worker/taxonomy/routes.yaml, loaded by edges/route_data.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from worker.records import Article, RegionTag, Tags, Verdict

RESERVED = frozenset({"raw", "feed-state", "enriched", "duplicates", "dead-letter"})
"""Names of topics that are not routes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a condition can ask about."""

    tags: Tags
    article: Article
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether a condition holds, and in words which part of it decided."""

    holds: bool
    because: str


class Condition(Protocol):
    """One node of a route's tree."""

    def decide(self, facts: Facts) -> Decision: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class All:
    """AND."""

    of: tuple[Condition, ...]

    def decide(self, facts: Facts) -> Decision:
        decisions = []
        for condition in self.of:
            decision = condition.decide(facts)
            if not decision.holds:
                return decision
            decisions.append(decision.because)
        return Decision(holds=True, because=" and ".join(decisions) or "no condition")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyOf:
    """OR."""

    of: tuple[Condition, ...]

    def decide(self, facts: Facts) -> Decision:
        missed = []
        for condition in self.of:
            decision = condition.decide(facts)
            if decision.holds:
                return decision
            missed.append(decision.because)
        return Decision(holds=False, because="none of: " + "; ".join(missed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Not:
    """NOT."""

    of: Condition

    def decide(self, facts: Facts) -> Decision:
        decision = self.of.decide(facts)
        return Decision(holds=not decision.holds, because=f"not ({decision.because})")


@dataclass(frozen=True, slots=True, kw_only=True)
class HasRegion:
    """A region tag; about and mentioned alike unless *about* says which."""

    code: str
    about: bool | None = None
    relevance: int = 0

    def decide(self, facts: Facts) -> Decision:
        tag = next((tag for tag in facts.tags.regions if tag.code == self.code), None)
        if tag is None:
            return Decision(holds=False, because=f"region {self.code} is not there")
        holds = tag.relevance >= self.relevance and (self.about is None or tag.about is self.about)
        return Decision(holds=holds, because=f"region {_region(tag)}" + ("" if holds else f", wanted {self._wanted()}"))

    def _wanted(self) -> str:
        kind = {True: " about", False: " only mentioned", None: ""}[self.about]
        return f"{self.relevance} or more{kind}"


def _region(tag: RegionTag) -> str:
    return f"{tag.code} {tag.relevance} {'about' if tag.about else 'only mentioned'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HasPair:
    """A pair tag, of a *type* if one is given."""

    code: str
    type: str | None = None
    relevance: int = 0

    def decide(self, facts: Facts) -> Decision:
        tag = next((tag for tag in facts.tags.pairs if tag.code == self.code), None)
        if tag is None:
            return Decision(holds=False, because=f"pair {self.code} is not there")
        if self.type is not None and tag.type != self.type:
            return Decision(holds=False, because=f"pair {self.code} is of type {tag.type}, not {self.type}")
        return _enough(f"pair {self.code}", tag.relevance, self.relevance)


@dataclass(frozen=True, slots=True, kw_only=True)
class HasTopic:
    """A topic tag."""

    slug: str
    relevance: int = 0
    confidence: int = 0

    def decide(self, facts: Facts) -> Decision:
        tag = next((tag for tag in facts.tags.topics if tag.slug == self.slug), None)
        if tag is None:
            return Decision(holds=False, because=f"topic {self.slug} is not there")
        if tag.confidence < self.confidence:
            return _enough(f"confidence of topic {self.slug}", tag.confidence, self.confidence)
        return _enough(f"topic {self.slug}", tag.relevance, self.relevance)


def _enough(what: str, has: int, wanted: int) -> Decision:
    if has >= wanted:
        return Decision(holds=True, because=f"{what} {has}")
    return Decision(holds=False, because=f"{what} {has}, wanted {wanted} or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class IsLanguage:
    """The article's language is one of *codes*."""

    codes: frozenset[str]

    def decide(self, facts: Facts) -> Decision:
        return _among("language", facts.article.language, self.codes)


@dataclass(frozen=True, slots=True, kw_only=True)
class IsFeed:
    """The article came by one of these feeds."""

    ids: frozenset[str]

    def decide(self, facts: Facts) -> Decision:
        return _among("feed", facts.article.feed.id, self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class IsKind:
    """The verdict is of one of these kinds: `new`, `update`."""

    kinds: frozenset[str]

    def decide(self, facts: Facts) -> Decision:
        return _among("kind", facts.verdict.kind.value, self.kinds)


def _among(what: str, has: str, wanted: frozenset[str]) -> Decision:
    if has in wanted:
        return Decision(holds=True, because=f"{what} {has}")
    return Decision(holds=False, because=f"{what} is {has}, wanted {' or '.join(sorted(wanted))}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HasLabels:
    """The feed bears every one of these labels with one of the values."""

    labels: Mapping[str, frozenset[str]]

    def decide(self, facts: Facts) -> Decision:
        for key, values in self.labels.items():
            has = facts.article.feed.labels.get(key)
            if has is None:
                return Decision(holds=False, because=f"the feed has no label {key}")
            if has not in values:
                return _among(f"label {key}", has, values)
        return Decision(holds=True, because=", ".join(f"label {key}" for key in self.labels))


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A topic of subscribers and the condition under which a story goes there."""

    name: str
    """Letters a–z, digits, hyphens."""
    when: Condition
    topic: str = field(default="")
    """What follows the prefix in the topic's name; the route's name unless it says otherwise."""

    def __post_init__(self) -> None:
        if not self.topic:
            object.__setattr__(self, "topic", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteDecision:
    """What became of one route for one story, for people."""

    route: str
    matched: bool
    because: str


def matched(routes: Iterable[Route], *, tags: Tags, article: Article, verdict: Verdict) -> tuple[str, ...]:
    """Return the names of the routes that the story goes on, in the order given."""
    facts = Facts(tags=tags, article=article, verdict=verdict)
    return tuple(route.name for route in routes if route.when.decide(facts).holds)


def explain(routes: Sequence[Route], *, tags: Tags, article: Article, verdict: Verdict) -> tuple[RouteDecision, ...]:
    """Return for each route whether it matched and which part of its condition decided."""
    facts = Facts(tags=tags, article=article, verdict=verdict)
    decisions = [(route.name, route.when.decide(facts)) for route in routes]
    return tuple(RouteDecision(route=name, matched=d.holds, because=d.because) for name, d in decisions)
