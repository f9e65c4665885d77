"""Which differences between two articles say something, and which do not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from worker.records import Article, Basis, Coordinates, FeedInfo, Fingerprint
from worker.stages.fingerprint import fingerprint

LEAD = "The border bridge reopened on Tuesday after repairs, and lorries loaded with timber crossed it all day."
LONG = f"{LEAD} Officials of both towns had promised the date in spring. {LEAD} Traders welcomed it. {LEAD}"
KOREAN = (
    "국경 다리가 보수를 마치고 화요일에 다시 열렸으며 목재를 실은 화물차들이 하루 종일 다리를 건넜다고 당국이 밝혔다."
)
CHINESE = "边境大桥完成维修后于周二重新开放，满载木材的卡车整天通过大桥，两地官员今年春天已承诺开放日期。"


def prints(
    body: str,
    *,
    title: str = "Border bridge reopens",
    link: str | None = "https://news.example/a",
    guid: str | None = "a",
    feed: str = "north",
    labels: dict[str, str] | None = None,
) -> Fingerprint:
    article = Article(
        story="ab" * 32,
        feed=FeedInfo(id=feed, labels=labels or {}),
        title=title,
        body=body,
        basis=Basis.FEED,
        extraction="text",
        language="en",
        link=link,
        canonical_link=link,
        guid=guid,
        fetched_at=datetime(2026, 3, 1, tzinfo=UTC),
        published_at=None,
    )
    return fingerprint(article, Coordinates(topic="news.raw", partition=0, offset=0))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (LONG, LONG.upper()),
        (LONG, LONG.replace(" ", "  \n ")),
        (LONG, LONG.replace(",", " –").replace(".", " …")),
        (LONG, LONG.replace("Tuesday", "Ｔｕｅｓｄａｙ")),
        (f"{LONG}\nViews: 1024", f"{LONG}\nViews: 2048"),
        (f"{LONG}\n12 comments", LONG),
        (f"{LONG}\nUpdated 5 minutes ago", f"{LONG}\nUpdated 2 hours ago"),
        (f"{LONG}\nGelesen: 1024", f"{LONG}\nGelesen: 1030"),
        (f"{LONG} 1,024 views | 12 comments", f"{LONG} 1,090 views | 14 comments"),
        (f"{LONG}\nAdvertisement\nSign up for our newsletter", LONG),
        (f"{LONG}\n1024 просмотра", f"{LONG}\n1025 просмотров"),
        (f"{CHINESE}\n阅读 1234", f"{CHINESE}\n阅读 1299"),
        (f"{CHINESE} 1234次阅读", f"{CHINESE} 1299次阅读"),
        (f"{CHINESE}\n广告", CHINESE),
        (f"{KOREAN}\n조회수 512", f"{KOREAN}\n조회수 640"),
        (f"{KOREAN}\n댓글 3\n광고", KOREAN),
        (f"{CHINESE}\nコメント(3)", f"{CHINESE}\nコメント(4)"),
    ],
)
def test_layout_counters_and_advertising_say_nothing(one: str, other: str) -> None:
    assert prints(one).text_state == prints(other).text_state
    assert prints(one).copy_key == prints(other).copy_key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The toll has risen to 12, the ministry said.", "The toll has risen to 15, the ministry said."),
        ("15 killed", "12 killed"),
        ("He sold 500 shares of the company to a rival.", "He sold 900 shares of the company to a rival."),
        ("The loan is 1.5 billion.", "The loan is 15 billion."),
        ("북한 노동자 3천 명이 도착했다.", "북한 노동자 5천 명이 도착했다."),
        ("第3回の会談が北京で開かれた。", "第4回の会談が北京で開かれた。"),
        ("किताब", "कताब"),
    ],
)
def test_a_number_or_a_mark_in_a_sentence_is_news(one: str, other: str) -> None:
    assert prints(one).text_state != prints(other).text_state


def test_a_number_in_the_title_is_never_a_counter() -> None:
    assert prints(LONG, title="12th package").text_state != prints(LONG, title="13th package").text_state
    assert prints("", title="12 comments").text_state != prints("", title="13 comments").text_state


def test_moving_a_word_from_the_title_to_the_body_changes_the_text() -> None:
    assert prints("opens today", title="Bridge").text_state != prints("today", title="Bridge opens").text_state


@pytest.mark.parametrize("body", [LONG, CHINESE * 2, KOREAN * 2])
def test_a_long_body_proves_a_copy_under_another_title_and_link(body: str) -> None:
    one, other = prints(body), prints(body, title="Timber flows again", link="https://copy.example/9", guid="z")
    assert one.copy_key == other.copy_key
    assert one.text_state != other.text_state
    assert one.link_key != other.link_key


def test_a_short_body_proves_a_copy_only_together_with_its_title() -> None:
    one, other = prints(LEAD), prints(LEAD, title="Timber flows again")
    assert one.copy_key is not None
    assert one.copy_key != other.copy_key
    assert prints(LEAD, link="https://copy.example/9").copy_key == one.copy_key


def test_a_text_of_a_few_words_proves_nothing() -> None:
    assert prints("Photos inside.", title="Daily briefing").copy_key is None
    assert prints("", title="").copy_key is None
    assert prints("사진", title="오늘의 소식").copy_key is None


def test_scheme_www_and_closing_slash_make_no_other_link() -> None:
    one = prints(LONG, link="http://www.news.example/a/")
    assert one.link_key == prints(LONG, link="https://news.example/a").link_key
    assert one.link_key != prints(LONG, link="https://news.example/a?id=2").link_key
    assert prints(LONG, link=None).link_key is None


def test_a_guid_counts_within_its_feed_only() -> None:
    assert prints(LONG, guid="7", feed="north").guid_key != prints(LONG, guid="7", feed="south").guid_key
    assert prints(LONG, guid=None).guid_key is None


def test_the_publisher_is_the_label_else_the_host_else_the_feed() -> None:
    assert prints(LONG, labels={"publisher": "Agency"}).publisher == "Agency"
    assert prints(LONG, link="https://www.news.example:8443/a").publisher == "news.example"
    assert prints(LONG, link=None).publisher == "north"
    assert prints(LONG, link="http://[broken/a").publisher == "north"


def test_texts_that_could_hurt_are_done_at_once() -> None:
    """Long digit runs, lone surrogates, zero bytes and a line of 200,000 characters neither raise nor hang."""
    for body in (
        "1" * 64 + "x",
        "9 " * 31 + "!",
        "\ud800 text",
        "a\0b",
        "12 views " * 25_000,
        "阅读" * 50_000,
        "\n" * 50_000,
    ):
        assert len(prints(body).text_state) == 32
