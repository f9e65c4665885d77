"""Extraction: whatever a feed or a page gives becomes plain text; furniture says nothing; nothing raises."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from tests.make import NOW, raw_article
from tests.pages import OTHERS, pages
from tests.stories import WORKERS, Told
from worker.html import main_text, text_of
from worker.records import Article, Basis, Page, RawArticle, Rejected
from worker.stages.extract import MAX_BODY, MAX_TITLE, extract

LAYOUTS = [
    pytest.param(told, page, id=f"{told.language}: {name}")
    for told in WORKERS
    for name, page in pages(told.title, told.paragraphs, told.language).items()
]


def detect(_text: str, hint: str | None) -> str:
    return hint or "und"


def extracted(raw: RawArticle) -> Article:
    result = extract(raw, detect)
    assert isinstance(result, Article)
    return result


@pytest.mark.parametrize(("told", "page"), LAYOUTS)
def test_the_main_text_of_a_page_is_its_story_and_nothing_else(told: Told, page: str) -> None:
    """Headlines of other stories, menus and footers are left out; every paragraph of the story is there."""
    text = main_text(page)

    lost = [paragraph for paragraph in told.paragraphs if paragraph not in text]
    foreign = [other for other in OTHERS[told.language] if other in text]
    assert (lost, foreign) == ([], [])
    assert not {"Germany", "Brazil", "Iceland"} & set(text.split())


def test_a_fetched_page_is_what_the_article_is_made_of() -> None:
    told = WORKERS[0]
    html = pages(told.title, told.paragraphs, "en")["list inside the article"]

    article = extracted(raw_article(title=told.title, page=Page(url="https://x.example/", html=html, fetched_at=NOW)))

    assert article.basis is Basis.PAGE
    assert article.body.splitlines() == list(told.paragraphs)


@pytest.mark.parametrize("html", ["", "<html></html>", "<p>Please enable cookies.</p>", "<" * 5000, "<div>" * 50_000])
def test_a_page_without_an_article_falls_back_to_what_the_feed_gave(html: str) -> None:
    article = extracted(raw_article(page=Page(url="https://x.example/", html=html, fetched_at=NOW)))

    assert (article.basis, article.extraction) == (Basis.FEED, "page-fallback")
    assert article.body.startswith("Delegations")


def test_an_extractor_that_is_not_installed_is_no_fault_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every page would quietly be worth no more than its feed's entry."""
    monkeypatch.setitem(sys.modules, "trafilatura", None)
    page = Page(url="https://x.example/", html="<p>Please enable cookies.</p>", fetched_at=NOW)

    with pytest.raises(ImportError):
        extract(raw_article(page=page), detect)


def test_the_longer_of_content_and_summary_is_taken() -> None:
    assert extracted(raw_article(content="<p>Short.</p>")).body.startswith("Delegations")
    assert extracted(raw_article(content="<p>" + "Long text. " * 30 + "</p>")).body.startswith("Long text.")


def test_blocks_become_lines_and_inline_markup_disappears() -> None:
    assert (
        text_of("<p>One <b>bo</b>ld.</p><p>Two &amp; three<br>four</p>").split() == "One bold. Two & three four".split()
    )
    assert extracted(raw_article(summary="<p>One.</p><ul><li>Two</li></ul>")).body == "One.\nTwo"


def test_plain_text_is_left_alone() -> None:
    """A lone < or & is no markup."""
    article = extracted(raw_article(title="Profit < loss & debt", summary="5 < 6 & so on"))

    assert (article.title, article.body, article.extraction) == ("Profit < loss & debt", "5 < 6 & so on", "text")


def test_scripts_and_styles_are_no_text() -> None:
    article = extracted(raw_article(summary="<script>alert('x')</script><style>p{}</style><p onerror=x>Text.</p>"))

    assert article.body == "Text."


@pytest.mark.parametrize(
    "char",
    ["\u202e", "\u2066", "\u200b", "\ufeff", "\u00ad", "\U000e0041", "\x00", "\x1b", "\u200d", "\x85"],
    ids=lambda char: f"U+{ord(char):04X}",
)
def test_characters_that_hide_or_turn_text_are_removed_and_flagged(char: str) -> None:
    article = extracted(raw_article(title=f"Chi{char}na", summary=f"Chi{char}na and Ko{char}rea"))

    assert article.title in {"China", "Chi na"}
    assert char not in article.body
    assert "invisible-removed" in article.flags or char == "\x85"


def test_joiners_that_mean_something_stay() -> None:
    """Persian needs the zero-width non-joiner, a family emoji its joiners."""
    article = extracted(raw_article(title="می‌خواهم 👨‍👩‍👧"))

    assert article.title == "می‌خواهم 👨‍👩‍👧"


def test_texts_are_in_normal_form_c() -> None:
    title = unicodedata.normalize("NFD", "한국 Zürich")

    assert extracted(raw_article(title=title)).title == "한국 Zürich"


def test_a_title_is_one_line() -> None:
    assert extracted(raw_article(title=" A\r\nheadline\u2028in\tpieces ")).title == "A headline in pieces"


def test_what_is_too_long_is_cut_and_flagged_with_its_length() -> None:
    article = extracted(raw_article(title="t" * 2_000, summary="b" * 150_000))

    assert (len(article.title), len(article.body)) == (MAX_TITLE, MAX_BODY)
    assert {(cut.field, cut.original_length) for cut in article.truncated} == {("title", 2_000), ("body", 150_000)}


def test_neither_title_nor_text_is_no_article() -> None:
    rejected = extract(raw_article(title=" \u200b", summary="<p></p>"), detect)

    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.stage) == ("no-text", "extract")


def test_a_text_without_title_is_an_article() -> None:
    assert extracted(raw_article(title=None)).title == ""
