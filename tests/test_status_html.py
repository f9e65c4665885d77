"""The status page as HTML: well-formed, whole, filtered, and never more than text where text came from a feed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from lxml import html

from tests import make
from worker import status_html, wire
from worker.enriched_document import EnrichedDocument
from worker.ninjs import Vocabulary
from worker.records import BodyRights, Evidence, PairTag, PlaceTag, RegionTag, Rights, Tags, TopicTag
from worker.status import (
    LEAD_CHARS,
    Counter,
    FeedHealth,
    Feeds,
    PartitionLag,
    Status,
    StoryFilter,
    StoryView,
    choices,
    of_document,
    of_enriched,
)
from worker.status_stories import story_item, web_address

EVIL = "</script></title><img src=x onerror=alert(1)>\u202e\" onmouseover='x"


def view(number: int = 1, **changes: Any) -> StoryView:
    made = of_enriched(make.enriched(), ("sanctions",), number)
    return msgspec.structs.replace(made, **changes)


def tagged(region: str, pair: str, topic: str, language: str = "en", number: int = 1) -> StoryView:
    tags = Tags(
        regions=(RegionTag(code=region, about=True, relevance=80),),
        pairs=(PairTag(code=pair, type="trade", relevance=70),),
        topics=(TopicTag(slug=topic, relevance=60, confidence=50),),
    )
    return view(number, tags=tags, language=language)


def status(*stories: StoryView, **changes: Any) -> Status:
    made = Status(process="worker a-0", version="1", boot="b1", started_at=make.NOW, at=make.NOW, stories=stories)
    return msgspec.structs.replace(made, **changes)


def page(shown: Status, **wanted: str) -> Any:
    text = status_html.page(shown, StoryFilter(**wanted), "")
    text.encode("utf-8")
    return html.document_fromstring(text)


def everything_evil() -> Status:
    evil_tags = Tags(
        regions=(RegionTag(code=EVIL, about=False, relevance=1),),
        places=(PlaceTag(name=EVIL, geoname="1", country="CN", about=True),),
        pairs=(PairTag(code=EVIL, type=EVIL, relevance=1),),
        topics=(TopicTag(slug=EVIL, relevance=1, confidence=1),),
        evidence=(
            Evidence(tag="place:1", field="title", start=0, end=5, text=EVIL, rule=EVIL),
            Evidence(tag=EVIL, field="body", start=3, end=9, text=EVIL, rule=EVIL),
            Evidence(tag=EVIL, field="body", start=900, end=909, text=EVIL, rule=EVIL),
        ),
        failed=(EVIL,),
    )
    story = view(
        title=EVIL, lead=EVIL, link=f"https://e.example/{EVIL}", feed=EVIL, language=EVIL, tags=evil_tags, kind=EVIL,
        routes=(EVIL,), length=999,
    )  # fmt: skip
    feed = FeedHealth(feed=EVIL, state=EVIL, failures=2, last_error=EVIL)
    return status(
        story,
        process=EVIL, version=EVIL, boot=EVIL, reasons=(EVIL,), counters=(Counter(name=EVIL, total=1),),
        partitions=(PartitionLag(partition=1, lag=2),), feeds=Feeds(total=1, failing=1, shown=(feed,)),
    )  # fmt: skip


def test_no_text_becomes_markup_wherever_it_stands() -> None:
    text = status_html.page(everything_evil(), StoryFilter(region=EVIL[:64]), EVIL)
    made: Any = html.document_fromstring(text)
    assert made.xpath("//img | //title/img | //body//script | //*[@onmouseover] | //*[@onerror]") == []
    assert len(made.xpath("//script")) == 1
    assert "\u202e" not in text
    assert {each.partition(":")[0] for each in made.xpath("//main//a/@href")} <= {"https", "/"}


@pytest.mark.parametrize(
    "link",
    ["javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:x", "data:text/html,x", "//e.example/", "https://", "file:///x",
     "http://[", None, ""],
)  # fmt: skip
def test_only_web_addresses_become_links(link: str | None) -> None:
    assert web_address(link) is None
    assert not html.fragment_fromstring(story_item(view(link=link))).xpath(".//a")


def test_a_link_tells_the_other_side_nothing() -> None:
    link = html.fragment_fromstring(story_item(view())).xpath(".//a")[0]
    assert urlsplit(link.get("href")).hostname == "wire.example.org"
    assert link.get("rel").split() == ["noopener", "noreferrer", "nofollow"]


FOUR = (
    tagged("CN", "CN-KP", "trade", number=4),
    tagged("KP", "CN-KP", "sanctions", "ko", number=3),
    tagged("RU", "RU-US", "sanctions", "ru", number=2),
    view(1, language="zh"),
)


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ({}, [4, 3, 2, 1]),
        ({"region": "CN"}, [4]),
        ({"pair": "CN-KP"}, [4, 3]),
        ({"topic": "sanctions"}, [3, 2]),
        ({"language": "zh"}, [1]),
        ({"pair": "CN-KP", "topic": "sanctions"}, [3]),
        ({"pair": "CN-KP", "language": "ru"}, []),
    ],
)
def test_the_filter_admits_what_has_all_that_is_asked_for(wanted: dict[str, str], numbers: list[int]) -> None:
    assert [story.number for story in FOUR if StoryFilter(**wanted).admits(story)] == numbers
    made = page(status(*FOUR), **wanted)
    assert len(made.xpath("//ol[@id='story-list']/li")) == len(numbers)
    assert made.xpath("//p[@id='no-stories']/@hidden") == ([""] if numbers else [])


def test_the_form_offers_what_is_there_and_keeps_what_is_chosen() -> None:
    made = page(status(*FOUR), topic="sanctions", region="JP")
    assert made.xpath("//select[@name='topic']/option[@selected]/@value") == ["sanctions"]
    assert made.xpath("//select[@name='region']/option/@value") == ["", "CN", "KP", "RU", "JP"]
    assert made.xpath("//form/@method") == ["get"]
    assert choices(FOUR, "language") == ("en", "ko", "ru", "zh")


def test_the_page_has_landmarks_headings_captions_and_names() -> None:
    made = page(everything_evil())
    landmarks = [each.tag for each in made.xpath("/html/body/*") if each.tag != "a"]
    assert landmarks == ["header", "nav", "main", "footer"]
    assert len(made.xpath("//h1")) == 1
    levels = [int(each.tag[1]) for each in made.xpath("//h1 | //h2 | //h3")]
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    assert all(table.xpath("./caption") for table in made.xpath("//table"))
    assert made.xpath("//*[@role='status' and @aria-live='polite']")
    ids = made.xpath("//@id")
    assert len(ids) == len(set(ids))
    assert set(made.xpath("//@aria-labelledby")) <= set(ids)
    assert {each[1:] for each in made.xpath("//a/@href") if each.startswith("#")} <= set(ids)
    assert all(select.xpath("ancestor::label") for select in made.xpath("//select"))
    assert made.xpath("//html/@lang") == ["en"]
    assert not made.xpath("//*[@style] | //style")


def test_each_part_that_updates_has_its_place() -> None:
    shown = everything_evil()
    made = page(shown)
    for name, text in status_html.parts(shown).items():
        place = made.get_element_by_id(name)
        assert html.tostring(html.fragment_fromstring(text, create_parent="div"), encoding="unicode").removeprefix(
            "<div>"
        ).removesuffix("</div>") in html.tostring(place, encoding="unicode")


def test_what_a_process_does_not_have_is_not_shown() -> None:
    poller = page(status(stories=None, feeds=Feeds(total=0, failing=0)))
    assert poller.xpath("//section/@id") == ["counters", "feeds"]
    worker = page(status(partitions=()))
    assert worker.xpath("//section/@id") == ["counters", "partitions", "stories"]


def test_language_and_direction_stand_with_each_story() -> None:
    made = html.fragment_fromstring(story_item(view(language="ar", title="خبر")))
    assert made.xpath(".//h3[@lang='ar'][@dir='rtl']")
    assert made.xpath(".//p[@class='lead'][@lang='ar'][@dir='rtl']")


def test_a_body_is_shown_only_as_far_as_its_rights_go() -> None:
    hidden = replace(make.FEED, rights=Rights(body=BodyRights.NONE))
    story = make.enriched(article=make.article(feed=hidden, body="secret " * 100))
    tags = Tags(evidence=(Evidence(tag="region:CN", field="body", start=0, end=6, text="secret", rule="r"),))
    assert "secret" not in story_item(of_enriched(replace(story, tags=tags), (), 1))
    assert of_enriched(story, (), 1).lead == ""
    long = of_enriched(make.enriched(article=make.article(body="word " * 1000)), (), 1)
    assert len(long.lead) == LEAD_CHARS
    assert "…" in story_item(long)


def test_evidence_behind_the_shown_text_is_named() -> None:
    behind = Evidence(tag="topic:trade", field="body", start=500, end=505, text="tariff", rule="r")
    story = view(length=600, tags=Tags(evidence=(behind,) * 40))
    made = html.fragment_fromstring(story_item(story))
    assert made.xpath(".//summary")[0].text_content() == "Evidence further down: 40"
    assert len(made.xpath(".//details//li")) == 31


def test_a_story_read_back_from_the_log_looks_as_the_one_that_went_out() -> None:
    tags = replace(
        tagged("CN", "CN-KP", "trade").tags,
        places=(PlaceTag(name="Dandong", geoname="2037886", country="CN", about=True),),
        evidence=(Evidence(tag="region:CN", field="title", start=0, end=9, text="Ministers", rule="r"),),
    )
    story = make.enriched(tags=tags)
    [record] = wire.enriched_records(story, Vocabulary(version="1"), topics=("news.enriched",), routes=("r",))
    document = wire.decode_enriched(record.value)
    assert isinstance(document, EnrichedDocument)
    assert story_item(of_document(document, ("r",), 1)) == story_item(of_enriched(story, ("r",), 1))
