"""Which relation of two countries a text is about."""

from __future__ import annotations

import pytest

from tests.support.border_story import BODIES, TITLES
from tests.support.tagging import pairs


@pytest.mark.parametrize("language", sorted(TITLES))
def test_the_border_story_is_about_labour_between_china_and_north_korea(language: str) -> None:
    result = pairs(BODIES[language], title=TITLES[language], language=language)
    assert [(tag.code, tag.type) for tag in result.pairs] == [("CN-KP", "labour")]
    assert {proof.tag for proof in result.evidence} == {"pair:CN-KP"}


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("中朝边境贸易恢复", "zh", "CN-KP"),
        ("북중 접경 무역이 재개됐다", "ko", "CN-KP"),
        ("日朝首脳会談を開く", "ja", "JP-KP"),
        ("米朝協議が再開", "ja", "KP-US"),
        ("US-China trade talks resume", "en", "CN-US"),
        ("Sino-Russian trade grew", "en", "CN-RU"),
        ("India–Pakistan border crossing reopens", "en", "IN-PK"),
        ("Российско-китайская торговля выросла", "ru", "CN-RU"),
    ],
)
def test_an_abbreviation_or_a_compound_names_the_pair(text: str, language: str, expected: str) -> None:
    assert [tag.code for tag in pairs("", title=text, language=language).pairs] == [expected]


def test_two_countries_without_a_word_that_relates_them_are_no_pair() -> None:
    assert pairs("Rain fell in Peru. Snow fell in Chile.", title="Rain in Peru, snow in Chile").pairs == ()


def test_two_sides_in_different_sentences_are_no_pair() -> None:
    assert pairs("A trade fair opened in Peru. A trade fair opened in Chile.").pairs == ()


def test_the_type_follows_the_cue() -> None:
    assert pairs("", title="Japan bans imports from Chile under new tariff").pairs[0].type == "trade"
    assert pairs("", title="Japan and Chile open joint naval exercise with troops").pairs[0].type == "military"
    assert pairs("", title="Japan extends sanctions against Iran").pairs[0].type == "sanctions"


def test_a_country_that_is_only_mentioned_makes_no_pair() -> None:
    """The summit with the US and Russia in the border story is talk, not its subject."""
    found = {tag.code for tag in pairs(BODIES["en"], title=TITLES["en"]).pairs}
    assert not found & {"KP-US", "KP-RU", "CN-US", "CN-RU"}


def test_a_character_of_another_word_opens_no_pair() -> None:
    assert pairs("", title="集中朝鲜工人的工厂", language="zh").pairs == ()
