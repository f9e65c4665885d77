"""A route is a name and a condition on what is known of a story."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from worker.records import (
    Article,
    Basis,
    FeedInfo,
    PairTag,
    RegionTag,
    Tags,
    TopicTag,
    Verdict,
    VerdictKind,
)
from worker.stages.route import (
    All,
    AnyOf,
    Condition,
    HasLabels,
    HasPair,
    HasRegion,
    HasTopic,
    IsFeed,
    IsKind,
    IsLanguage,
    Not,
    Route,
    explain,
    matched,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ARTICLE = Article(
    story="0" * 64,
    feed=FeedInfo(id="agency", labels={"tier": "one", "country": "cn"}),
    title="Title",
    body="",
    basis=Basis.FEED,
    extraction="text",
    language="ko",
    link=None,
    canonical_link=None,
    guid=None,
    fetched_at=NOW,
    published_at=None,
)
VERDICT = Verdict(kind=VerdictKind.UPDATE, story="0" * 64, version=2, first_seen=NOW)
TAGS = Tags(
    regions=(RegionTag(code="CN", about=True, relevance=80), RegionTag(code="US", about=False, relevance=20)),
    pairs=(PairTag(code="CN-KP", type="labour", relevance=60),),
    topics=(TopicTag(slug="sanctions", relevance=40, confidence=70),),
)
YES, NO = HasRegion(code="CN"), HasRegion(code="FR")


def holds(condition: Condition) -> bool:
    return matched([Route(name="r", when=condition)], tags=TAGS, article=ARTICLE, verdict=VERDICT) == ("r",)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (HasRegion(code="CN", about=True, relevance=80), True),
        (HasRegion(code="CN", relevance=81), False),
        (HasRegion(code="CN", about=False), False),
        (HasRegion(code="US", about=False), True),
        (HasRegion(code="US", about=True), False),
        (HasPair(code="CN-KP"), True),
        (HasPair(code="CN-KP", type="labour", relevance=60), True),
        (HasPair(code="CN-KP", type="trade"), False),
        (HasPair(code="CN-KP", relevance=61), False),
        (HasPair(code="CN-US"), False),
        (HasTopic(slug="sanctions", relevance=40, confidence=70), True),
        (HasTopic(slug="sanctions", relevance=41), False),
        (HasTopic(slug="sanctions", confidence=71), False),
        (HasTopic(slug="health"), False),
        (IsLanguage(codes=frozenset({"ko", "ja"})), True),
        (IsLanguage(codes=frozenset({"en"})), False),
        (IsFeed(ids=frozenset({"agency"})), True),
        (IsFeed(ids=frozenset({"other"})), False),
        (IsKind(kinds=frozenset({"update"})), True),
        (IsKind(kinds=frozenset({"new"})), False),
        (HasLabels(labels={"tier": frozenset({"one", "two"}), "country": frozenset({"cn"})}), True),
        (HasLabels(labels={"tier": frozenset({"one"}), "country": frozenset({"kp"})}), False),
        (HasLabels(labels={"owner": frozenset({"state"})}), False),
        (All(of=(YES, YES)), True),
        (All(of=(YES, NO)), False),
        (AnyOf(of=(NO, YES)), True),
        (AnyOf(of=(NO, NO)), False),
        (Not(of=NO), True),
        (Not(of=YES), False),
        (All(of=(YES, Not(of=AnyOf(of=(NO, Not(of=YES)))))), True),
    ],
)
def test_a_condition_holds_only_where_it_should(condition: Condition, expected: bool) -> None:
    assert holds(condition) is expected


def test_names_come_in_the_order_of_the_routes() -> None:
    routes = [Route(name="b", when=YES), Route(name="x", when=NO), Route(name="a", when=YES)]
    assert matched(routes, tags=TAGS, article=ARTICLE, verdict=VERDICT) == ("b", "a")


def test_explain_says_for_each_route_which_condition_decided() -> None:
    routes = [
        Route(name="china", when=All(of=(YES, HasTopic(slug="sanctions", relevance=50)))),
        Route(name="pair", when=HasPair(code="CN-KP")),
        Route(name="any", when=AnyOf(of=(NO, IsLanguage(codes=frozenset({"en"}))))),
    ]
    told = explain(routes, tags=TAGS, article=ARTICLE, verdict=VERDICT)
    assert [(decision.route, decision.matched, decision.because) for decision in told] == [
        ("china", False, "topic sanctions 40, wanted 50 or more"),
        ("pair", True, "pair CN-KP 60"),
        ("any", False, "none of: region FR is not there; language is ko, wanted en"),
    ]


def test_a_route_writes_to_its_name_unless_it_says_otherwise() -> None:
    assert Route(name="asia", when=YES).topic == "asia"
    assert Route(name="asia", when=YES, topic="desk.asia").topic == "desk.asia"
