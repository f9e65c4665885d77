"""The status page in Chromium: how it looks on a screen and on a phone, that it keeps up, and works without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import make
from tests.edges.test_status_page import Served
from tests.support import browser
from tests.support.border_story import BODIES, TITLES
from tests.support.browser import Browser, Page
from tests.support.debian import NotToBeHad
from tests.support.waiting import until
from worker.edges.status_board import feeds_of
from worker.feed_config import FeedConfig
from worker.records import Evidence, FeedState, PairTag, RegionTag, Tags, TopicTag

pytestmark = pytest.mark.timeout(300)
HOSTILE = "<b>Beijing</b> & \u202ePyongyang</script><script>alert(1)</script> 😀 𠮷 " + "unbroken" * 30
COUNTRIES = {"China": "CN", "North Korea": "KP", "중국": "CN", "북한": "KP", "中国": "CN", "朝鲜": "KP"}
POOR_CONTRAST = """(() => {
  const rgb = (css) => css.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (of) => {
    for (let at = of; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const one of document.querySelectorAll("body *")) {
    const says = [...one.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!says || !one.checkVisibility()) continue;
    const [a, b] = [light(rgb(getComputedStyle(one).color)), light(ground(one))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${one.tagName}.${one.className} ${one.textContent.slice(0, 20)} ${ratio.toFixed(2)}`);
  }
  return poor;
})()"""
"""Texts that stand out less than WCAG AA asks for."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser | NotToBeHad]:
    try:
        with browser.chromium() as its:
            yield its
    except NotToBeHad as error:
        yield error


@pytest.fixture
def page(chromium: Browser | NotToBeHad) -> Page:
    if isinstance(chromium, NotToBeHad):
        pytest.skip(f"need chromium: {chromium}")
    return chromium.page()


@pytest.fixture
def served() -> Iterator[Served]:
    its = Served()
    feeds = [FeedConfig(id=name, url=f"https://{name}.example/") for name in ("good", "bad", "fresh")]
    states = {
        "good": FeedState(feed="good", url="https://good.example/", last_success_at=make.NOW, next_poll_at=make.NOW),
        "bad": FeedState(feed="bad", url="https://bad.example/", failures=3, last_error="dns: " + "x" * 80),
    }
    its.board.process, its.board.feeds = "poller and workers", feeds_of(lambda: feeds, states)
    its.board.partitions = lambda: {0: 0, 1: 1234, 2: None}
    its.reasons.append("seen store: away")
    for language, title in TITLES.items():
        tell(its, title, BODIES[language], language)
    tell(its, HOSTILE, BODIES["en"], "en")
    yield its
    its.server.close()


def tell(served: Served, title: str, body: str, language: str) -> None:
    """Publish a story whose countries are tagged."""
    evidence = tuple(
        Evidence(tag=f"region:{code}", field=field, start=text.index(name), end=text.index(name) + len(name), text=name,
                 rule="country")
        for field, text in (("title", title), ("body", body))
        for name, code in COUNTRIES.items()
        if name in text
    )  # fmt: skip
    tags = Tags(
        regions=(RegionTag(code="CN", about=True, relevance=82), RegionTag(code="US", about=False, relevance=10)),
        pairs=(PairTag(code="CN-KP", type="labour", relevance=76),),
        topics=(TopicTag(slug="labour-migration", relevance=79, confidence=60),),
        evidence=evidence,
    )
    served.board.enriched(
        make.enriched(article=make.article(title=title, body=body, language=language), tags=tags), ("china-dprk",)
    )


def live(page: Page) -> bool:
    return bool(page.evaluate("document.getElementById('said').textContent").startswith("Live"))


def shown(page: Page) -> int:
    return int(page.evaluate("document.querySelectorAll('#story-list > li').length"))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_the_screen_and_can_be_read(page: Page, served: Served, tmp_path: Path, width: int, dark: bool) -> None:
    page.look_like(width=width, dark=dark)
    page.open(served.server.url)
    until(lambda: live(page))
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(POOR_CONTRAST) == []
    page.screenshot(tmp_path / "page.png")
    assert page.complaints == []


def test_it_keeps_up_without_being_loaded_again(page: Page, served: Served) -> None:
    page.open(served.server.url)
    until(lambda: live(page))
    page.evaluate("window.same = true")
    served.metrics.records_in.inc(5432)
    served.reasons.clear()
    tell(served, "Seoul and Tokyo sign a <i>trade</i> accord", "Words.", "en")
    until(lambda: page.evaluate("document.querySelector('#story-list h3').textContent").startswith("Seoul and Tokyo"))
    until(lambda: page.evaluate("document.querySelector('#counters .total').textContent") == "5\u202f432")
    until(lambda: page.evaluate("document.querySelector('#readiness').textContent") == "Ready")
    assert shown(page) == 5
    assert page.evaluate("window.same") is True
    assert page.evaluate("document.querySelectorAll('#story-list :is(script, i, h3 b)').length") == 0

    page.evaluate("document.getElementById('pause').click()")
    assert page.evaluate("document.getElementById('said').textContent") == "Paused"
    tell(served, "While paused", "Words.", "en")
    assert shown(page) == 5
    page.evaluate("document.getElementById('pause').click()")
    until(lambda: shown(page) == 6)
    assert page.complaints == []


def test_the_filter_works_and_stays_in_force_for_what_comes(page: Page, served: Served) -> None:
    page.open(served.server.url)
    before = page.loads
    page.evaluate("document.querySelector('select[name=language]').value = 'ko'")
    page.evaluate("document.querySelector('form button').click()")
    page.settle(before)
    assert page.evaluate("[...document.querySelectorAll('#story-list h3')].map(h => h.lang)") == ["ko"]
    assert page.evaluate("document.querySelectorAll('#story-list mark').length") >= 3
    until(lambda: live(page))
    tell(served, "Not asked for", "Words.", "en")
    tell(served, "물어본 것", "말.", "ko")
    until(lambda: shown(page) == 2)
    assert page.evaluate("document.querySelector('#story-list h3').textContent") == "물어본 것"
    assert page.complaints == []


def test_it_works_without_scripts(page: Page, served: Served) -> None:
    page.without_scripts()
    page.open(f"{served.server.url}?language=en")
    assert page.evaluate("document.getElementById('pause').hidden") is True
    assert shown(page) == 2
    assert page.evaluate("getComputedStyle(document.body).maxWidth") != "none"
    assert page.complaints == []
