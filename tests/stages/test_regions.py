"""What a text is about, what it only mentions, and what only looks like a country."""

from __future__ import annotations

import pytest

from tests.support.border_story import BODIES, TITLES
from tests.support.tagging import article, codes, regions, shipped
from worker.stages.regions import tag_regions

LANGUAGES = sorted(TITLES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_border_story_is_about_china_and_north_korea_and_only_mentions_the_others(language: str) -> None:
    """The story that the project began with."""
    result = regions(BODIES[language], title=TITLES[language], language=language)
    about = {tag.code for tag in result.regions if tag.about}
    mentioned = {tag.code for tag in result.regions if not tag.about}
    assert about == {"CN", "KP"}
    assert mentioned == {"US", "RU"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_border_story_lists_its_cities_and_the_dateline(language: str) -> None:
    result = regions(BODIES[language], title=TITLES[language], language=language)
    assert {"Hunchun", "Dandong", "Shenyang"} <= {place.name for place in result.places}
    assert {place.country for place in result.places} == {"CN"}


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("North Korean officials arrived.", "en", {"KP"}),
        ("Nigerian police made arrests.", "en", {"NG"}),
        ("Papua New Guinea held a vote.", "en", {"PG"}),
        ("Equatorial Guinea held a vote.", "en", {"GQ"}),
        ("Guinea-Bissau held a vote.", "en", {"GW"}),
        ("The Dominican Republic held a vote.", "en", {"DO"}),
        ("Ships crossed the South China Sea.", "en", set()),
        ("A reporter of the Korea Times asked.", "en", set()),
        ("The Panama Papers and French fries were on the table.", "en", set()),
        ("Police in New Mexico made arrests.", "en", {"US"}),
        ("East Timor held a vote.", "en", {"TL"}),
        ("The team changed its jersey and ate turkey.", "en", set()),
        ("Please let us in.", "en", set()),
        ("The US and the UK agreed.", "en", {"US", "GB"}),
        ("南朝鲜军队公布了消息", "zh", {"KR"}),
        ("朝鮮半島局勢", "zh", set()),
        ("集中朝鲜的力量", "zh", {"KP"}),
        ("在华盛顿举行", "zh", {"US"}),
        ("沿海地区经济", "zh", set()),
        ("人道主义危机", "zh", set()),
        ("나이지리아 정부가 발표했다", "ko", {"NG"}),
        ("인도주의 지원이 늘었다", "ko", set()),
        ("한국은 결정했다", "ko", {"KR"}),
        ("이런 수단을 동원했다", "ko", set()),
        ("범행을 저지른 사람", "ko", set()),
        ("북미 시장 판매가 늘었다", "ko", set()),
        ("苏丹内战仍在继续", "zh", {"SD"}),
        ("タイトルを獲得した", "ja", set()),
        ("中国地方で大雨", "ja", set()),
        ("北朝鮮が発表した", "ja", {"KP"}),
        ("タイの首相が語った", "ja", {"TH"}),
        ("Южная Корея сообщила", "ru", {"KR"}),
    ],
)
def test_a_name_consumes_its_text_and_keeps_its_bounds(text: str, language: str, expected: set[str]) -> None:
    assert codes(text, language=language) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Переговоры с Китаем прошли в среду", {"CN"}),
        ("В Северной Корее и КНДР ждут ответа", {"KP"}),
        ("Северокорейских рабочих встретили китайцы", {"KP", "CN"}),
        ("Южнокорейскими властями принято решение", {"KR"}),
        ("Об этом узнали в Японии", {"JP"}),
        ("Он приехал из Пхеньяна", {"KP"}),
    ],
)
def test_russian_names_are_known_in_every_case(text: str, expected: set[str]) -> None:
    assert codes(text, language="ru") == expected


def test_polish_names_are_known_in_every_case() -> None:
    assert codes("Rozmowy z Rosją odbyły się w Niemczech, bez Ukrainy", language="pl") == {"RU", "DE", "UA"}


@pytest.mark.parametrize(
    "dateline",
    [
        "SEOUL, June 3 (Newswire) - ",
        "SEOUL — ",
        "【ソウル=田中】",
        "(서울=새소식) ",
        "（首尔6月3日电）",
        "СЕУЛ, 3 июня. ",
    ],
)
def test_a_dateline_is_a_place_and_no_mention_of_its_country(dateline: str) -> None:
    result = regions(dateline + "Fish prices rose in Norway. Норвегия, ノルウェー, 挪威, 노르웨이")
    assert [place.name for place in result.places] == ["Seoul"]
    assert {tag.code for tag in result.regions} == {"NO"}


def test_a_city_leans_on_the_country_that_the_text_names() -> None:
    """Georgia is a state beside Atlanta and a country beside Tbilisi."""
    assert codes("Voters in Georgia went to the polls, officials in Atlanta said.") == {"US"}
    assert codes("Voters in Georgia went to the polls, officials in Tbilisi said.") == {"GE"}


def test_a_small_city_says_nothing_without_its_country() -> None:
    assert regions("He was reading in Reading.").places == ()
    assert [place.name for place in regions("A court in Springfield, Illinois ruled.").places][:1] == ["Springfield"]


def test_a_title_in_capitals_is_read_all_the_same() -> None:
    assert codes("The ministry said so.", title="JAPAN AND CHINA TALK ABOUT TRADE") == {"JP", "CN"}


def test_a_list_of_countries_counts_less_than_a_subject() -> None:
    result = regions(
        "Peru raised its tariff. Buyers are Chile, Brazil, Spain and Italy. Peru waits.", title="Tariff up"
    )
    assert [tag.code for tag in result.regions if tag.about] == ["PE"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_evidence_repeats_its_span_of_the_published_field(language: str) -> None:
    text = article(BODIES[language], title=TITLES[language], language=language)
    result = tag_regions(text, shipped()[0])
    assert result.evidence
    for proof in result.evidence:
        field = text.title if proof.field == "title" else text.body
        assert field[proof.start : proof.end] == proof.text
    proven = {proof.tag for proof in result.evidence}
    assert {f"region:{tag.code}" for tag in result.regions} <= proven
    assert {f"place:{place.geoname}" for place in result.places} <= proven


def test_an_empty_text_names_nothing() -> None:
    assert regions("").regions == ()
