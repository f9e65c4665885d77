"""The taxonomy is data: a user adds and changes it by files, and every slip of the pen is found with file and line."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from worker.edges.route_data import KnownNames, load_routes
from worker.edges.taxonomy import SHIPPED, load_taxonomy
from worker.edges.topic_data import load_topics
from worker.edges.yaml_file import FileFaults
from worker.records import Article, Basis, FeedInfo
from worker.ruleset import Taxonomy
from worker.stages.route import RESERVED, All
from worker.stages.topics import tag_topics

REQUIRED = {
    "sanctions", "diplomacy", "military", "armed-conflict", "nuclear-missile", "trade-economy", "labour-migration",
    "migration-refugees", "human-rights", "crime-justice", "politics-elections", "disaster-accident", "health",
    "environment-energy", "science-technology", "culture-sport-society",
}  # fmt: skip
LANGUAGES = {"en", "zh", "ko", "ja", "ru"}
KNOWN = KnownNames(topics={"sanctions"}, regions={"CN", "KP", "IR"})


@pytest.fixture(scope="module")
def shipped() -> Taxonomy:
    return load_taxonomy()


def routes_file(folder: Path, text: str) -> Path:
    (folder / "routes.yaml").write_text(text, encoding="utf-8")
    return folder


def faults(folder: Path) -> list[str]:
    with pytest.raises(FileFaults) as caught:
        load_routes([folder], KNOWN)
    return [f"{Path(fault.file).name}:{fault.line}: {fault.reason}" for fault in caught.value.faults]


def test_every_required_topic_ships_with_words_in_five_languages(shipped: Taxonomy) -> None:
    assert shipped.vocabulary.topics.keys() == REQUIRED
    for rule in shipped.topics.rules:
        assert rule.terms.keys() >= LANGUAGES, rule.slug
        assert all(len(rule.terms[language]) >= 30 for language in LANGUAGES), rule.slug


def test_economic_sanctions_have_their_media_topic(shipped: Taxonomy) -> None:
    assert shipped.vocabulary.topics["sanctions"].uri == "http://cv.iptc.org/newscodes/mediatopic/20000642"
    assert shipped.vocabulary.countries["KP"] == "North Korea"


def test_two_routes_ship(shipped: Taxonomy) -> None:
    assert [route.name for route in shipped.routes] == ["china-dprk", "sanctions"]


def test_the_shipped_version_stands_in_its_file(shipped: Taxonomy) -> None:
    assert shipped.version == (SHIPPED / "VERSION").read_text(encoding="ascii").strip()


def test_a_user_adds_a_topic_and_a_route_without_code(tmp_path: Path) -> None:
    (tmp_path / "topics").mkdir()
    (tmp_path / "topics" / "rice.yaml").write_text("names: {en: Rice}\nterms: {en: {5: [rice harvest*]}}\n")
    routes_file(
        tmp_path, "routes:\n  - {name: rice, when: {all: [{topic: rice}, {region: {code: JP, about: true}}]}}\n"
    )
    taxonomy = load_taxonomy(tmp_path)
    story = Article(
        story="0" * 64,
        feed=FeedInfo(id="feed"),
        title="Rice harvests shrink",
        body="",
        basis=Basis.FEED,
        extraction="text",
        language="en",
        link=None,
        canonical_link=None,
        guid=None,
        fetched_at=datetime(2026, 1, 1, tzinfo=UTC),
        published_at=None,
    )
    assert [tag.slug for tag in tag_topics(story, taxonomy.topics).topics] == ["rice"]
    assert [route.name for route in taxonomy.routes] == ["china-dprk", "sanctions", "rice"]
    assert taxonomy.version.startswith(load_taxonomy().version + "+")
    (tmp_path / "topics" / "rice.yaml").write_text("names: {en: Rice}\nterms: {en: {5: [paddy]}}\n")
    assert load_taxonomy(tmp_path).version != taxonomy.version


def test_a_users_route_of_the_same_name_stands_for_the_shipped_one(tmp_path: Path) -> None:
    routes_file(tmp_path, "routes:\n  - {name: sanctions, when: {all: [{topic: sanctions}, {pair: CN-KP}]}}\n")
    routes = load_routes([SHIPPED, tmp_path], KNOWN)
    assert [route.name for route in routes] == ["china-dprk", "sanctions"]
    assert isinstance(routes[1].when, All)


def test_all_kinds_of_conditions_are_read(tmp_path: Path) -> None:
    routes_file(
        tmp_path,
        """routes:
  - name: desk
    topic: desk.one
    when:
      all:
        - {topic: sanctions, relevance: 30, confidence: 20}
        - any: [{region: KP, about: true}, {region: {code: IR, relevance: 40}}]
        - not: {language: [ja, ru]}
        - {labels: {tier: [one, two], owner: state}}
        - {feed: agency}
        - {kind: [new, update]}
        - {pair: {code: CN-KP, type: labour}}
""",
    )
    (route,) = load_routes([tmp_path], KNOWN)
    assert route.topic == "desk.one"
    assert isinstance(route.when, All)
    assert len(route.when.of) == 7


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        ("{topic: sanktions}", "there is no topic 'sanktions'"),
        ("{region: XX}", "there is no region 'XX'"),
        ("{pair: KP-CN}", "there is no pair 'KP-CN'"),
        ("{pair: CN-XX}", "there is no pair 'CN-XX'"),
        ("{topic: sanctions, relevence: 3}", "unknown key 'relevence'"),
        ("{topic: sanctions, relevance: 300}", "relevance: must lie between 0 and 100"),
        ("{topic: sanctions, region: CN}", "2 conditions (topic, region) here"),
        ("{relevance: 30}", "no condition here"),
        ("{all: []}", "all: the list is empty"),
        ("{not: [1]}", "a condition is a mapping"),
        ("{kind: copy}", "kind: 'copy' is neither new nor update"),
        ("{language: English}", "language: 'English' is no ISO 639 code"),
        ("{region: {code: CN, about: maybe}}", "about: Expected `bool`, got `str`"),
        ("7", "a condition is a mapping"),
    ],
)
def test_a_slip_in_a_condition_is_told_with_its_line(tmp_path: Path, when: str, reason: str) -> None:
    found = faults(routes_file(tmp_path, f"routes:\n  - name: desk\n    when: {when}\n"))
    assert len(found) == 1
    assert found[0].startswith("routes.yaml:3: ")
    assert reason in found[0]


@pytest.mark.parametrize("name", [*sorted(RESERVED), "Desk", "a b", "x.y"])
def test_reserved_and_odd_names_are_refused(tmp_path: Path, name: str) -> None:
    found = faults(routes_file(tmp_path, f"routes:\n  - name: {name}\n    when: {{region: CN}}\n"))
    assert len(found) == 1
    assert found[0].startswith("routes.yaml:2: ")


def test_a_topic_name_of_the_pipeline_is_refused_for_a_route(tmp_path: Path) -> None:
    found = faults(routes_file(tmp_path, "routes:\n  - {name: desk, topic: enriched, when: {region: CN}}\n"))
    assert "is reserved" in found[0]


def test_all_faults_of_all_files_come_at_once(tmp_path: Path) -> None:
    (tmp_path / "topics").mkdir()
    (tmp_path / "topics" / "bad.yaml").write_text(
        "names: {ko: 쌀}\nmediatopic: 20000642\nthreshold: -1\nterms: {en: {9: [rice], 2: ['*']}}\nnear: {en: [{}]}\n",
        encoding="utf-8",
    )
    (tmp_path / "topics" / "Worse.yaml").write_text("names: {en: Worse}\nterm: {}\n")
    with pytest.raises(FileFaults) as caught:
        load_topics([tmp_path])
    told = {(Path(fault.file).name, fault.line, fault.reason.split(":")[0]) for fault in caught.value.faults}
    assert told >= {
        ("bad.yaml", 1, "names"),
        ("bad.yaml", 2, "mediatopic"),
        ("bad.yaml", 3, "threshold"),
        ("bad.yaml", 4, "weight 9"),
        ("bad.yaml", 4, "'*' is no term"),
        ("bad.yaml", 5, "near"),
        (
            "Worse.yaml",
            2,
            "unknown key 'term'; known are damped-by, hidden, mediatopic, names, near, not, terms, threshold",
        ),
    }


def test_a_folder_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(FileFaults, match="no such folder"):
        load_taxonomy(tmp_path / "gone")
