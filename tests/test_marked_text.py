"""Text from outside as HTML: never markup, never turned around, evidence where it belongs."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.marked_text import language_attributes, marked, safe
from worker.records import Evidence


def evidence(tag: str, text: str, part: str, *, after: int = 0, rule: str = "rule") -> Evidence:
    start = text.index(part, after)
    return Evidence(tag=tag, field="title", start=start, end=start + len(part), text=part, rule=rule)


def plain(markup: str) -> str:
    """Return what a reader sees, without the names of the tags."""
    return html.unescape(re.sub(r"<small.*?</small>|<[^>]*>", "", markup))


def test_offsets_count_code_points_on_emoji_and_rare_han() -> None:
    text = "🇨🇳😀 𠮷野家 opens in China & 𪚥京"
    marks = marked(
        text, [evidence("region:CN", text, "China"), evidence("place:1", text, "𪚥京")], {"place:1": "Dragon"}
    )
    assert re.findall(r"<mark[^>]*>([^<]*)<small[^>]*> ([^<]*)</small></mark>", marks) == [
        ("China", "CN"),
        ("𪚥京", "Dragon"),
    ]
    assert plain(marks) == text


def test_what_overlaps_shares_a_mark_that_names_all() -> None:
    text = "North Korean workers in China"
    spans = [
        evidence("topic:labour", text, "Korean workers"),
        evidence("region:KP", text, "North Korean", rule="demonym.en"),
        evidence("region:KP", text, "North Korean", rule="again"),
    ]
    marks = marked(text, spans, {})
    assert marks.startswith(
        '<mark class="region" title="region:KP (demonym.en), topic:labour (rule)">North Korean workers<small'
    )
    assert "KP, labour</small></mark> in China" in marks


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (2, 2), (3, 1), (0, 99)])
def test_spans_that_do_not_fit_are_left_out(start: int, end: int) -> None:
    odd = Evidence(tag="region:CN", field="title", start=start, end=end, text="x", rule="r")
    assert marked("China", [odd], {}) == "China"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    text=st.text(max_size=40), spans=st.lists(st.tuples(st.integers(-2, 45), st.integers(-2, 45), st.text(max_size=8)))
)
def test_whatever_comes_stays_text(text: str, spans: list[tuple[int, int, str]]) -> None:
    found = [Evidence(tag=tag, field="title", start=a, end=b, text="", rule=tag) for a, b, tag in spans]
    markup = marked(text, found, {})
    assert (
        re.sub(
            r'<mark class="[^"<>]*" title="[^"<>]*">|<small lang="en" dir="ltr">|</small>|</mark>', "", markup
        ).count("<")
        == 0
    )
    assert plain(markup) == html.unescape(safe(text))


def test_hostile_text_is_harmless() -> None:
    text = safe("</script><img src=x onerror='alert(1)'>\u202egnp.exe\u2066\x00\ud800\u2028\"&")
    assert text == "&lt;/script&gt;&lt;img src=x onerror=&#x27;alert(1)&#x27;&gt;gnp.exe&quot;&amp;"
    text.encode("utf-8")


def test_joiners_of_persian_and_of_emoji_stay() -> None:
    assert safe("می‌خواهم 👩‍🚀") == "می‌خواهم 👩‍🚀"


@pytest.mark.parametrize(
    ("language", "attributes"),
    [
        ("ko", 'lang="ko" dir="ltr"'),
        ("ar", 'lang="ar" dir="rtl"'),
        ("zh-Hant-TW", 'lang="zh-Hant-TW" dir="ltr"'),
        ("und", 'lang="" dir="auto"'),
        ('en" onclick="x', 'lang="" dir="auto"'),
        ("en\n", 'lang="" dir="auto"'),
    ],
)
def test_language_attributes_hold_languages_only(language: str, attributes: str) -> None:
    assert language_attributes(language) == attributes
