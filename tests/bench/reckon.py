"""
Reckon the tables of docs/scaling.md from what one article and one feed cost: `python -m tests.bench.reckon`.

The costs are what `make costs` has measured; the assumptions are named on the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

DAY_S = 86_400
PEAK = 5
"""The busiest minutes against the mean of a day."""
FILLED = 0.5
"""How much of a core is planned for."""
REPLICAS = 3
RAW_DAYS = 7
TTL_DAYS = 30
INTERVAL_S = 300
NEWS_SHARE = 0.1
"""Of polls, those that bring something new."""
SHARD_FEEDS = 50_000
KB, MB, GB, TB = 1e3, 1e6, 1e9, 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class ArticleCost:
    """What one article of 4.8 KB costs; *single*: when each is a transaction of its own."""

    worker_us: float = 460
    worker_us_single: float = 4_040
    broker_us: float = 153
    broker_us_single: float = 6_625
    seen_us: float = 88
    seen_us_single: float = 320
    raw: float = 2_803
    raw_single: float = 3_858
    lasting: float = 3_832
    """On `enriched` and the routes, with one article in five on one route."""
    lasting_single: float = 5_665
    beside: float = 46
    """On `duplicates` and the broker's own topics."""
    beside_single: float = 1_051
    seen: float = 880
    """In the seen store until `seen.ttl`."""
    seen_hour: float = 250
    """In the seen store for an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedCost:
    """What one feed costs."""

    poll_us: float = 2_030
    """Nothing new, over HTTPS, with the look-up of the name."""
    news_us: float = 4_400
    """What a poll that brings an article costs more."""
    state: float = 1_380
    """On disk, each time that its state is stored: with news, else once an hour."""
    own: float = 5.3 * 1024
    """Memory of a feed that is polled."""
    listed: float = 2.1 * 1024
    """Memory of a feed that another shard polls."""
    process: float = 90 * MB
    own_start_us: float = 83
    listed_start_us: float = 56


ARTICLE, FEED = ArticleCost(), FeedCost()
ARTICLES = (10_000, 1_000_000, 50_000_000)
FEEDS = (1_000, 10_000, 100_000, 1_000_000)
ONE_BY_ONE = 100
"""Articles a second below which most of them are alone in their transaction."""


def article_rows() -> Iterator[Sequence[str]]:
    """Yield the table of articles."""
    yield "articles a day", *(f"{count:,}" for count in ARTICLES)
    yield "a second, mean and peak", *(f"{_short(_rate(count))}, {_short(_rate(count) * PEAK)}" for count in ARTICLES)
    yield "cores of workers at the peak", *(f"{_short(_worker_cores(count))}" for count in ARTICLES)
    yield "worker processes", *(str(max(2, ceil(_worker_cores(count) / FILLED))) for count in ARTICLES)
    yield "cores of the brokers, as leaders, at the peak", *(f"{_short(_broker_cores(count))}" for count in ARTICLES)
    yield "cores of the seen store's server at the peak", *(_short(_seen_cores(count)) for count in ARTICLES)
    yield "partitions", *("12" for _ in ARTICLES)
    yield "seen store, `seen.ttl` 30 days", *(_size(_seen(count, TTL_DAYS)) for count in ARTICLES)
    yield "seen store, `seen.ttl` 3 days", *(_size(_seen(count, 3)) for count in ARTICLES)
    yield "Kafka, written a day, one replica", *(_size(sum(_written(count))) for count in ARTICLES)
    yield "Kafka, `raw` kept 7 days, 3 replicas", *(_size(_written(n)[0] * RAW_DAYS * REPLICAS) for n in ARTICLES)
    yield "Kafka, `enriched` and routes, 3 replicas, grow a day", *(_size(_written(n)[1] * REPLICAS) for n in ARTICLES)


def feed_rows() -> Iterator[Sequence[str]]:
    """Yield the table of feeds."""
    yield "feeds, each every 5 minutes", *(f"{count:,}" for count in FEEDS)
    yield "polls a second", *(f"{_short(count / INTERVAL_S)}" for count in FEEDS)
    yield "cores of pollers", *(f"{_short(_poll_cores(count))}" for count in FEEDS)
    yield "shards", *(str(_shards(count)) for count in FEEDS)
    yield "memory of each", *(_size(_memory(count)) for count in FEEDS)
    yield "start of each, CPU seconds", *(f"{_short(_start_s(count))}" for count in FEEDS)
    yield "`feed-state` after compaction, one replica", *(_size(count * FEED.state) for count in FEEDS)
    yield "`feed-state` written a day, one replica", *(_size(_states(count) * FEED.state) for count in FEEDS)


def table(rows: Iterator[Sequence[str]]) -> str:
    """Return *rows*, the first of them the head, as Markdown."""
    head, *others = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + "---|" * (head.count(" | ") + 1), *others])


def _rate(articles: float) -> float:
    return articles / DAY_S


def _cores(articles: float, many_us: float, single_us: float) -> float:
    """Return how many cores the peak takes of what costs so much among many, and alone."""
    peak = _rate(articles) * PEAK
    return peak * (single_us if peak < ONE_BY_ONE else many_us) / 1e6


def _worker_cores(articles: float) -> float:
    return _cores(articles, ARTICLE.worker_us, ARTICLE.worker_us_single)


def _broker_cores(articles: float) -> float:
    return _cores(articles, ARTICLE.broker_us, ARTICLE.broker_us_single)


def _seen_cores(articles: float) -> float:
    return _cores(articles, ARTICLE.seen_us, ARTICLE.seen_us_single)


def _seen(articles: float, days: float) -> float:
    return articles * (ARTICLE.seen * days + ARTICLE.seen_hour / 24)


def _written(articles: float) -> tuple[float, float, float]:
    if _rate(articles) < ONE_BY_ONE:
        return articles * ARTICLE.raw_single, articles * ARTICLE.lasting_single, articles * ARTICLE.beside_single
    return articles * ARTICLE.raw, articles * ARTICLE.lasting, articles * ARTICLE.beside


def _poll_cores(feeds: float) -> float:
    return feeds / INTERVAL_S * (FEED.poll_us + NEWS_SHARE * FEED.news_us) / 1e6


def _shards(feeds: float) -> int:
    return max(1, ceil(feeds / SHARD_FEEDS))


def _memory(feeds: float) -> float:
    own = feeds / _shards(feeds)
    return FEED.process + own * FEED.own + (feeds - own) * FEED.listed


def _start_s(feeds: float) -> float:
    own = feeds / _shards(feeds)
    return 0.6 + (own * FEED.own_start_us + (feeds - own) * FEED.listed_start_us) / 1e6


def _states(feeds: float) -> float:
    """Return how many states are stored a day: one with each article's poll, and one in each hour without."""
    news = DAY_S / INTERVAL_S * NEWS_SHARE
    return feeds * max(24.0, news)


def _size(size: float) -> str:
    for unit, name in ((TB, "TB"), (GB, "GB"), (MB, "MB")):
        if size >= unit:
            return f"{_short(size / unit)} {name}"
    return f"{_short(size / KB)} KB"


def _short(number: float) -> str:
    """Return two digits of *number*, and no exponent."""
    return "< 0.01" if number < 0.01 else f"{float(f'{number:.2g}'):,g}"


if __name__ == "__main__":
    print(table(article_rows()), table(feed_rows()), sep="\n\n")
