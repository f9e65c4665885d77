"""Topics are given when they are a real subject, with evidence, by the rules of the taxonomy."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.quality.topics import index, own_scores, own_texts, total
from worker.records import Article, Basis, FeedInfo
from worker.stages.topics import (
    MAX_EVIDENCE,
    Group,
    Term,
    TopicIndex,
    TopicRule,
    TopicRules,
    tag_topics,
)
from worker.terms import OwnedTerm, TermSet, normalise

STORY = """SHENYANG - About 3,000 workers from North Korea have arrived in the border city of Hunchun and 500
more in Dandong, in spite of United Nations Security Council sanctions that forbid member states to
employ them, sources said. The workers, mostly women, were sent to seafood and garment factories.
Chinese officials in charge of relations with Pyongyang told the companies to keep quiet. The
foreign ministry said that it knew nothing of the matter."""


def article(title: str, body: str = "", language: str = "en") -> Article:
    return Article(
        story="0" * 64,
        feed=FeedInfo(id="feed"),
        title=title,
        body=body,
        basis=Basis.FEED,
        extraction="text",
        language=language,
        link=None,
        canonical_link=None,
        guid=None,
        fetched_at=datetime(2026, 1, 1, tzinfo=UTC),
        published_at=None,
    )


@pytest.fixture(scope="module")
def shipped() -> TopicIndex:
    return index()


def slugs(compiled: TopicIndex, title: str, body: str = "", language: str = "en") -> set[str]:
    return {tag.slug for tag in tag_topics(article(title, body, language), compiled).topics}


def test_workers_sent_in_spite_of_sanctions_are_sanctions_labour_and_diplomacy(shipped: TopicIndex) -> None:
    title = "North Korea sends thousands of workers to China despite UN sanctions"
    assert slugs(shipped, title, STORY) >= {"sanctions", "labour-migration", "diplomacy"}


@pytest.mark.parametrize(
    ("title", "body"),
    [
        ("Board sanctions merger vote", "The merger was sanctioned by the board on Friday."),
        ("Striker banned after sporting sanction", "The football league's referee gave the striker a red card."),
    ],
)
def test_approval_and_sport_are_no_sanctions(shipped: TopicIndex, title: str, body: str) -> None:
    assert "sanctions" not in slugs(shipped, title, body)


def test_two_lines_with_a_clear_title_are_enough(shipped: TopicIndex) -> None:
    assert slugs(shipped, "EU widens economic sanctions on Belarus", "Ministers met.") == {"sanctions"}


def test_one_word_deep_in_a_long_text_is_not_enough(shipped: TopicIndex) -> None:
    filler = "The gardener planted roses along the wall and watered them in the evening. " * 60
    assert "sanctions" not in slugs(shipped, "A garden in spring", f"{filler}He once wrote about an embargo. {filler}")


def test_chinese_is_read_in_both_scripts(shipped: TopicIndex) -> None:
    simplified = slugs(shipped, "安理会讨论对朝制裁", "各国就武器禁运交换意见。", "zh")
    traditional = slugs(shipped, "安理會討論對朝制裁", "各國就武器禁運交換意見。", "zh")
    assert simplified == traditional
    assert "sanctions" in simplified


def test_russian_phrases_match_in_every_case(shipped: TopicIndex) -> None:
    for title in ("Об экономических санкциях", "Экономические санкции", "Экономическими санкциями"):
        assert slugs(shipped, title, language="ru") == {"sanctions"}


def test_an_unknown_language_is_read_with_all_vocabularies(shipped: TopicIndex) -> None:
    assert "sanctions" in slugs(shipped, "追加制裁を採択", "資産を凍結する。", "und")
    assert slugs(shipped, "Economic sanctions", "", "sw") == set()


def test_evidence_repeats_its_span_and_is_bounded(shipped: TopicIndex) -> None:
    item = article("North Korea sends workers to China despite UN sanctions", STORY * 3)
    result = tag_topics(item, shipped)
    assert result.evidence
    for proof in result.evidence:
        source = item.title if proof.field == "title" else item.body
        assert proof.text == source[proof.start : proof.end] != ""
        assert proof.rule.startswith(proof.tag.removeprefix("topic:") + ".en.")
    for tag in result.topics:
        assert 1 <= sum(proof.tag == f"topic:{tag.slug}" for proof in result.evidence) <= MAX_EVIDENCE
        assert 0 < tag.relevance <= 100
        assert 0 < tag.confidence <= 100


def test_rules_that_follow_others_are_compiled_for_the_same_languages() -> None:
    """Else the first articles after each change of rules would wait for it."""
    before, after = (TopicIndex(TopicRules(topics=(rule("a", ("sanctions", 5)),))) for _ in range(2))
    slugs(before, "Sanctions")
    after.prepare(like=before)
    assert after._scorers.keys() == before._scorers.keys() == {"en"}


def test_an_empty_article_has_no_topics(shipped: TopicIndex) -> None:
    assert tag_topics(article(""), shipped).topics == ()


def rule(slug: str, *terms: tuple[str, float], groups: tuple[Group, ...] = (), **more: object) -> TopicRule:
    made = tuple(Term(text=text, weight=weight, rule=f"{slug}.en.{n}") for n, (text, weight) in enumerate(terms, 1))
    return TopicRule(slug=slug, threshold=5, terms={"en": made}, groups={"en": groups}, **more)  # type: ignore[arg-type]


def test_a_new_topic_changes_no_other() -> None:
    title = "Economic sanctions hit trade fair"
    added = rule("fairs", ("economic sanctions hit trade fair", 5), ("sanctions", 0))
    before = slugs(TopicIndex(TopicRules(topics=(rule("a", ("sanctions", 5)),))), title)
    after = slugs(TopicIndex(TopicRules(topics=(rule("a", ("sanctions", 5)), added))), title)
    assert (before, after) == ({"a"}, {"a", "fairs"})


def test_words_of_a_group_say_something_only_near_each_other() -> None:
    near = Group(slots=(("ban*",), ("exports",)), weight=5, within=10, rule="x.en.1")
    compiled = TopicIndex(TopicRules(topics=(rule("x", groups=(near,)),)))
    assert slugs(compiled, "Ban on exports") == {"x"}
    assert slugs(compiled, "Ban lifted for the old town's bicycles and all exports") == set()


def test_a_context_takes_points_off() -> None:
    sport = rule("sport", ("football", 3), hidden=True)
    attack = rule("war", ("attack", 3), damped_by={"sport": 1.0})
    compiled = TopicIndex(TopicRules(topics=(sport, attack)))
    assert slugs(compiled, "Attack at dawn") == {"war"}
    assert slugs(compiled, "Football: attack shines") == set()


@pytest.mark.parametrize(
    ("terms", "text", "found"),
    [
        (["strike*"], "Strikes; a strikebreaker; stri-ke; instrike", ["Strike", "strike"]),
        (["war"], "toward war, warm, WAR", ["war", "WAR"]),
        (["air strike*"], "air-strikes and air strike", ["air-strike", "air strike"]),
        (["テロ"], "ステロイド、テロ対策", ["テロ"]),
        (["제재"], "대북제재와 제재는", ["제재"]),
        (["制裁"], "对朝制裁措施", ["制裁"]),
        (["ядерн* оружи*"], "о ядерном оружии, ядерный щит", ["ядерном оружии"]),
        (["trade", "trade war"], "trade wars", ["trade"]),
        (["coup d'etat"], "Coup d\u2019etat", ["Coup d\u2019etat"]),
    ],
)
def test_terms_match_as_words_of_their_script(terms: list[str], text: str, found: list[str]) -> None:
    compiled = TermSet([OwnedTerm(owner="x", text=term) for term in terms])
    assert [text[start:end] for _, start, end in compiled.find(normalise(text))] == found


def test_silent_terms_use_their_text_up_for_their_owner_only() -> None:
    compiled = TermSet(
        [
            OwnedTerm(owner="a", text="attack"),
            OwnedTerm(owner="a", text="heart attack", silent=True),
            OwnedTerm(owner="b", text="attack"),
        ]
    )
    assert [number for number, _, _ in compiled.find("heart attack, attack")] == [2, 0, 2]


def test_our_labelled_texts_keep_their_figures(shipped: TopicIndex) -> None:
    """The floors lie a little below what was measured; see `make quality` for the figures of today."""
    scores = own_scores(shipped, own_texts())
    assert total(scores).precision >= 0.85
    assert total(scores).recall >= 0.9
    for slug, counts in scores.items():
        assert counts.right, slug
        assert counts.precision >= 0.6, slug
        assert counts.recall >= 0.7, slug
