"""The raw records and feed states that each release is made to work off: many languages, odd cases, own words."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from worker import wire
from worker.ports import NewRecord
from worker.records import BodyRights, FeedInfo, FeedState, Page, RawArticle, Rights, Truncation

THEN = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
WIRE = FeedInfo(
    id="river-wire",
    url="https://river-wire.example/rss",
    title="River Wire",
    language="en",
    labels={"country": "CN", "publisher": "river-wire"},
    rights=Rights(body=BodyRights.FULL, usage_terms="Name the River Wire."),
)
HILLS = FeedInfo(id="hill-post", title="언덕신문", language="ko", rights=Rights(body=BodyRights.EXCERPT))
BARE = FeedInfo(id="bare")
ENGLISH = (
    "DANDONG, China - China and North Korea reopened a ferry across the Yalu on Monday, traders on both banks said."
    " Beijing and Pyongyang had agreed on the crossing at talks in spring. United Nations sanctions forbid the export"
    " of coal and seafood from North Korea, and customs officers in Dandong opened every crate, a sailor of the ferry"
    " said. The two neighbours want to repair a bridge as well, according to a notice at the landing stage."
)
KOREAN = (
    "북한과 중국이 압록강을 건너는 나룻배 운항을 월요일 다시 시작했다고"
    " 양안의 상인들이 전했다. 두 나라는 봄 회담에서 뱃길을 다시 열기로 합의했다."
    " 유엔 제재는 북한산 석탄과 수산물 수출을 금지하고 있으며,"
    " 단둥 세관원들은 상자를 하나하나 열어 보았다고 뱃사람이 말했다."
)
CHINESE = (
    "中国和朝鲜周一重新开通了鸭绿江上的一条渡轮航线,两岸商人说。两国在春天的会谈中商定恢复航线。联合国制裁禁止朝鲜出口煤炭和海产品,"
    "丹东海关人员打开了每一只箱子,一名船员说。码头上的告示写道,两国还打算修复一座旧桥,工程师已经量过桥墩的高度和河水的深度。"
)
JAPANESE = (
    "中国と北朝鮮は月曜日、鴨緑江を渡る渡し船の運航を再開したと両岸の商人が語った。両国は春の会談で航路の再開に合意していた。"
    "国連の制裁は北朝鮮の石炭と海産物の輸出を禁じており、丹東の税関職員は箱をすべて開けたと船員は話した。"
)
RUSSIAN = (
    "Китай и КНДР в понедельник вновь открыли паромную переправу через реку Ялу, рассказали торговцы на обоих берегах."
    " Стороны договорились об этом весной. Санкции ООН запрещают вывоз угля и морепродуктов из Северной Кореи, и"
    " таможня Даньдуна вскрыла каждый ящик, сообщил матрос парома. Соседи хотят починить и старый мост."
)
ARABIC = (
    "أعادت بلدتان على ضفتي النهر فتح معبر للعبارات يوم الاثنين، بحسب تجار محليين. وقال بحار إن المفتشين فتحوا كل صندوق"
    " قبل السماح للقارب بالمغادرة، وإن الرحلة الأولى حملت الشاي والقماش وعددا قليلا من المسافرين."
)
ADVICE = (
    "The editors have withdrawn an earlier report under this address because its author could not stand by it. Readers"
    " who keep gardens may like to know instead that tulip bulbs are best set in November, a hand deep, in loose soil."
)


def article(name: str, text: str, *, feed: FeedInfo = WIRE, **changes: object) -> RawArticle:
    link = f"https://{feed.id}.example/{name}"
    made = RawArticle(
        story=_story(link),
        feed=feed,
        fetched_at=THEN,
        title=" ".join(text.split()[:7]) if " " in text[:40] else text[:18],
        link=link,
        canonical_link=link,
        guid=f"urn:{feed.id}:{name}",
        content=f"<p>{text}</p>",
        published="Fri, 20 Nov 2026 08:00:00 GMT",
        published_at=THEN - timedelta(minutes=30),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def raw_records() -> list[NewRecord]:
    """Return them in the order in which they are to be worked off."""
    english, korean, russian = article("ferry", ENGLISH), article("배", KOREAN, feed=HILLS), article("parom", RUSSIAN)
    no_link = article("x", ARABIC, feed=BARE, link=None, canonical_link=None, guid="entry 7", title=None)
    page = Page(
        url="https://river-wire.example/final", fetched_at=THEN, html=f"<html><body><p>{CHINESE}</p></body></html>"
    )
    full = article(
        "all",
        JAPANESE,
        summary="渡し船 🚢 が再び動く",
        language="ja",
        updated="2026-11-20T08:10:00Z",
        updated_at=THEN - timedelta(minutes=20),
        authors=("A. Writer", "佐藤"),
        categories=("river", "貿易"),
        extra={"media:content": [{"url": "https://x.example/1.jpg", "width": 640}], "rating": 1.5, "live": True},
        truncated=(Truncation(field="content", original_length=2_000_000),),
        flags=("guid-shared", "charset-guessed"),
    )
    told = [
        english,
        korean,
        article("du", CHINESE, page=page, content=None, summary="渡轮"),
        full,
        russian,
        replace(no_link, story=_story("entry 7")),
        article("ferry", ADVICE),  # an update, which leaves the routes
        article("copied", KOREAN, feed=replace(HILLS, id="valley-post")),
        replace(russian, fetched_at=THEN + timedelta(minutes=5)),
        article(
            "silent",
            ENGLISH.replace("ferry", "barge"),
            feed=replace(WIRE, id="quiet", rights=Rights(body=BodyRights.NONE)),
        ),
        article("empty", "", title="", content=None),
    ]
    made = [wire.raw_record(each, topic="news.raw", now=THEN) for each in told]
    foreign = replace(made[0], key=b"k1", value=made[0].value, headers=(("ce_type", b"someone.elses.v1"),))
    bad = [
        replace(made[0], key=b"k2", value=b"\xff\xfe not JSON"),
        replace(made[0], key=b"k3", value=b'{"story": 5}', headers=(("origin", b"\xff\x00 a licensed wire"),)),
        replace(made[0], key=b"k4", value=None),
    ]
    return [*made, foreign, *bad]


def feed_states() -> list[NewRecord]:
    states = [
        FeedState(feed="bare", url="https://bare.example/feed"),
        FeedState(
            feed="river-wire",
            url="https://river-wire.example/rss",
            known="AAECAwQFBgcICQoLDA0ODw==",
            body_hash="00" * 16,
            etag='W/"ü-1"',
            last_modified="Fri, 20 Nov 2026 08:00:00 GMT",
            moved_to="https://river-wire.example/new",
            next_poll_at=THEN + timedelta(minutes=5),
            last_success_at=THEN,
            last_new_at=THEN - timedelta(hours=1),
            failures=3,
            last_error="timeout",
        ),
    ]
    return [wire.feed_state_record(state, topic="news.feed-state", now=THEN) for state in states]


def _story(of: str) -> str:
    return hashlib.sha256(of.encode()).hexdigest()
