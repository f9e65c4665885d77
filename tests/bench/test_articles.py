"""The benchmark's articles are what its description says."""

from __future__ import annotations

from tests.bench.articles import SIZE, articles
from worker import wire


def test_the_same_seed_gives_the_same_articles_and_another_seed_others() -> None:
    assert list(articles(50)) == list(articles(50))
    assert list(articles(50)) != list(articles(50, seed=8))


def test_a_tenth_are_duplicates_half_of_them_under_the_same_link() -> None:
    made = list(articles(2000))
    reprints = sum(article.feed.id == "reprints" for article in made)
    repeats = len(made) - len({article.story for article in made})
    assert reprints + repeats == 200
    assert 70 < reprints < 130


def test_a_duplicate_has_the_text_of_an_earlier_article() -> None:
    made = list(articles(500))
    earlier = {article.content for article in made[:9]}
    assert made[9].content in earlier
    assert len({article.content for article in made}) == 450


def test_a_body_is_four_kilobytes_of_html_and_the_record_can_be_read() -> None:
    for article in articles(20):
        body = article.content or ""
        assert SIZE <= len(body) < SIZE + 700
        assert body.startswith("<p")
        assert wire.read_raw(wire.raw_value(article)) == article
