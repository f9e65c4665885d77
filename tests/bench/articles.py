"""
Synthetic raw articles for the benchmark: the same for the same seed, 4 KB with HTML, one in ten a duplicate.

Sentences are made of a small vocabulary with countries, cities and cues, so that each tagger has something to find; one
story in five is on sanctions or on China and North Korea, which the shipped routes take.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from worker.records import FeedInfo, RawArticle

SIZE = 4096
"""Bytes of a record's HTML body, about."""
FETCHED = datetime(2026, 1, 15, 8, 0, tzinfo=UTC)
_COUNTRIES = (
    "France|Germany|Brazil|Japan|South Korea|Mexico|Kenya|Nigeria|India|Vietnam|Poland|Canada|Australia|Egypt|Turkey"
    "|Chile|Spain|Italy|Indonesia|Thailand"
).split("|")
_CITIES = "Lyon|Hamburg|Osaka|Busan|Nairobi|Mumbai|Hanoi|Toronto|Sydney|Cairo|Ankara|Seville|Turin|Surabaya".split("|")
_WHO = "officials|engineers|farmers|traders|doctors|lawmakers|researchers|dock workers|teachers|investors".split("|")
_DID = "welcomed|questioned|delayed|signed|reviewed|rejected|measured|financed|postponed|defended|announced".split("|")
_WHAT = (
    "a plan for cheaper housing|the new railway timetable|a report on river levels|the budget for schools"
    "|a contract for wind turbines|the harvest figures|a trial of a malaria vaccine|the state election calendar"
    "|an agreement on fishing rights|the museum's reopening|a study of coastal birds|the port's expansion"
).split("|")
_WHEN = "on Monday|last week|after long talks|in spite of rain|before the holiday|for the second time".split("|")
_SANCTIONS = (
    "The government imposed sanctions on {n} companies and froze their assets",
    "The embargo bans exports of machine tools, and the sanctions list grew by {n} ships",
    "Diplomats said that the new sanctions against Russia would be enforced within {n} days",
)
_CHINA_DPRK = (
    "Trade between China and North Korea rose by {n} percent, customs data from Dandong showed",
    "China and North Korea agreed to send {n} trains a week over the Yalu bridge",
    "North Korean workers in Jilin province, China, number {n} hundred, traders said",
)


def articles(count: int, *, seed: int = 7) -> Iterator[RawArticle]:
    """Yield *count* articles; a tenth repeats one of the last thousand: half under the same link, half as a copy."""
    rng = random.Random(seed)
    recent: list[RawArticle] = []
    for number in range(count):
        if number % 10 == 9:
            yield _duplicate(rng.choice(recent), number, rng)
            continue
        article = _article(number, rng)
        recent.append(article)
        del recent[:-1000]
        yield article


def _article(number: int, rng: random.Random) -> RawArticle:
    country, city = rng.choice(_COUNTRIES), rng.choice(_CITIES)
    special = _SANCTIONS if number % 10 == 0 else _CHINA_DPRK if number % 10 == 5 else ()
    title = f"{country}: {rng.choice(_WHO)} in {city} {rng.choice(_DID)} {rng.choice(_WHAT)}"
    if special:
        title = rng.choice(special).format(n=rng.randrange(2, 90))
    paragraphs: list[str] = []
    size = 0
    while size < SIZE:
        text = " ".join(_sentence(country, rng) for _ in range(rng.randrange(2, 5)))
        if special and len(paragraphs) % 2 == 0:
            text = f"{rng.choice(special).format(n=rng.randrange(2, 90))}. {text}"
        paragraphs.append(f'<p class="story">{text} <a href="/more/{rng.randrange(10**6)}">Background</a></p>')
        size += len(paragraphs[-1])
    link = f"https://paper-{number % 40}.example/2026/01/{number}"
    return RawArticle(
        story=hashlib.sha256(link.encode()).hexdigest(),
        feed=FeedInfo(id=f"paper-{number % 40}", title=f"Paper {number % 40}", language="en", labels={"tier": "bench"}),
        fetched_at=FETCHED,
        title=title,
        link=link,
        canonical_link=link,
        guid=f"item-{number}",
        content="\n".join(paragraphs),
        published_at=FETCHED,
        authors=("A. Writer",),
        categories=("world",),
    )


def _sentence(country: str, rng: random.Random) -> str:
    place = country if rng.random() < 0.25 else f"the district {rng.randrange(1, 400)}"
    who, did, what, when = rng.choice(_WHO), rng.choice(_DID), rng.choice(_WHAT), rng.choice(_WHEN)
    return f"{who.capitalize()} in {place} {did} {what} {when}, with {rng.randrange(2, 900)} people present."


def _duplicate(article: RawArticle, number: int, rng: random.Random) -> RawArticle:
    if rng.random() < 0.5:
        return article
    link = f"https://reprints.example/{number}"
    story = hashlib.sha256(link.encode()).hexdigest()
    feed = FeedInfo(id="reprints", title="Reprints", language="en")
    return replace(article, story=story, feed=feed, link=link, canonical_link=link, guid=f"reprint-{number}")
