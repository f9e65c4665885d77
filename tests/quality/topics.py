"""
Precision, recall and F1 of topics: on our own labelled texts, and on public sets where their labels map honestly.

`report(folder)` gives the lines that `make quality` prints; `own_scores()` is what the regression test holds.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

import worker
from worker.edges.topic_data import load_topics
from worker.records import Article, Basis, FeedInfo
from worker.stages.topics import TopicIndex, tag_topics

OWN = Path(__file__).with_name("topics_own.yaml")
SHIPPED = Path(worker.__file__).parent / "taxonomy"
WIKINEWS = {
    "Crime and law": "crime-justice",
    "Disasters and accidents": "disaster-accident",
    "Economy and business": "trade-economy",
    "Science and technology": "science-technology",
    "Space": "science-technology",
    "Elections": "politics-elections",
    "Sports": "culture-sport-society",
    "Culture and entertainment": "culture-sport-society",
    "Environment": "environment-energy",
    "Human rights": "human-rights",
    "Health": "health",
}
BBC = {
    "business": "trade-economy",
    "politics": "politics-elections",
    "sport": "culture-sport-society",
    "entertainment": "culture-sport-society",
    "tech": "science-technology",
}
BBC_NEGATIVE = ("sanctions", "nuclear-missile", "armed-conflict", "labour-migration")
"""Of sport, entertainment and business stories hardly any is about these."""
REUTERS_TRADE = frozenset({"trade", "interest", "money-fx", "cpi", "gnp", "bop", "earn", "acq", "reserves", "jobs"})
REUTERS_ENERGY = frozenset({"crude", "nat-gas", "gas", "fuel", "heat"})


@dataclass(slots=True)
class Counts:
    """Right, wrongly given, and missed."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    def add(self, given: bool, owed: bool) -> None:
        self.right += given and owed
        self.wrong += given and not owed
        self.missed += owed and not given

    @property
    def precision(self) -> float:
        return self.right / max(1, self.right + self.wrong)

    @property
    def recall(self) -> float:
        return self.right / max(1, self.right + self.missed)

    def __str__(self) -> str:
        both = self.precision + self.recall
        f1 = 2 * self.precision * self.recall / both if both else 0.0
        counts = f"{self.right} right, {self.wrong} wrong, {self.missed} missed"
        return f"P {self.precision:.2f}  R {self.recall:.2f}  F1 {f1:.2f}  ({counts})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """One of our own texts."""

    language: str
    topics: frozenset[str]
    title: str
    text: str


def index() -> TopicIndex:
    """Return the shipped topics, compiled."""
    return TopicIndex(load_topics([SHIPPED]).rules)


def topics_of(compiled: TopicIndex, title: str, text: str, language: str) -> frozenset[str]:
    """Return the slugs that the tagger gives; a title repeated at the head of the text is taken off."""
    article = Article(
        story="0" * 64,
        feed=FeedInfo(id="quality"),
        title=title,
        body=text.removeprefix(title).strip(),
        basis=Basis.FEED,
        extraction="text",
        language=language,
        link=None,
        canonical_link=None,
        guid=None,
        fetched_at=datetime(2026, 1, 1, tzinfo=UTC),
        published_at=None,
    )
    return frozenset(tag.slug for tag in tag_topics(article, compiled).topics)


def own_texts() -> list[Labelled]:
    """Return our own labelled set."""
    rows = yaml.safe_load(OWN.read_text(encoding="utf-8"))
    return [Labelled(language=a, topics=frozenset(b), title=c, text=d) for a, b, c, d in rows]


def own_scores(compiled: TopicIndex, texts: Iterable[Labelled]) -> dict[str, Counts]:
    """Return the counts by topic."""
    scores: dict[str, Counts] = {rule.slug: Counts() for rule in compiled.rules if not rule.hidden}
    for text in texts:
        given = topics_of(compiled, text.title, text.text, text.language)
        for slug, counts in scores.items():
            counts.add(slug in given, slug in text.topics)
    return scores


def total(scores: Mapping[str, Counts]) -> Counts:
    """Return the sum over all topics."""
    return Counts(
        right=sum(c.right for c in scores.values()),
        wrong=sum(c.wrong for c in scores.values()),
        missed=sum(c.missed for c in scores.values()),
    )


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the rows of one public set; empty when it is not there."""
    path = folder / f"{name}.jsonl.gz"
    if not path.exists():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def report(folder: Path) -> list[str]:
    """Return the lines to print; sets that are not in *folder* are left out."""
    compiled = index()
    texts = own_texts()
    scores = own_scores(compiled, texts)
    lines = [f"topics, own labelled texts ({len(texts)}): {total(scores)}"]
    for code in sorted({text.language for text in texts}):
        own = own_scores(compiled, [text for text in texts if text.language == code])
        lines.append(f"  language {code}: {total(own)}")
    lines += [f"  {slug}: {counts}" for slug, counts in sorted(scores.items())]
    for public in (_wikinews, _bbc, _reuters, _ntrex):
        lines += public(folder, compiled)
    return lines


def _wikinews(folder: Path, compiled: TopicIndex) -> list[str]:
    found: dict[str, Counts] = {slug: Counts() for slug in WIKINEWS.values()}
    for row in rows(folder, "wikinews_dev"):
        given = topics_of(compiled, row["title"], row["text"], "en")
        owed = {WIKINEWS[topic] for topic in row["topics"] if topic in WIKINEWS}
        for slug, counts in found.items():
            counts.add(slug in given, slug in owed)
    if not sum(c.right + c.missed for c in found.values()):
        return []
    return [
        f"topics, wikinews categories (one or two a story, so precision is understated): {total(found)}",
        *(f"  {slug}: {counts}" for slug, counts in sorted(found.items())),
    ]


def _bbc(folder: Path, compiled: TopicIndex) -> list[str]:
    classes: dict[str, Counts] = {label: Counts() for label in BBC}
    false = dict.fromkeys(BBC_NEGATIVE, 0)
    negatives = 0
    for row in rows(folder, "bbc_dev"):
        given = topics_of(compiled, row["title"], row["text"], "en")
        label = row["topics"][0]
        for other, counts in classes.items():
            if BBC[other] != BBC[label] or other == label:
                counts.add(BBC[other] in given, other == label)
        if label != "politics":
            negatives += 1
            for slug in false:
                false[slug] += slug in given
    if not negatives:
        return []
    return [
        "topics, BBC classes (each class is one topic; a story may well have others, so precision is understated):",
        *(f"  {label} = {BBC[label]}: {counts}" for label, counts in classes.items()),
        *(f"  {slug} given to {count} of {negatives} stories outside politics" for slug, count in false.items()),
    ]


def _reuters(folder: Path, compiled: TopicIndex) -> list[str]:
    trade, energy = Counts(), Counts()
    for row in rows(folder, "reuters21578_dev")[::10]:
        topics = set(row["topics"])
        if topics:
            given = topics_of(compiled, row["title"], row["text"], "en")
            trade.add("trade-economy" in given, bool(topics & REUTERS_TRADE))
            energy.add("environment-energy" in given, bool(topics & REUTERS_ENERGY))
    if not trade.right + trade.missed:
        return []
    return [
        f"topics, Reuters (every tenth), {', '.join(sorted(REUTERS_TRADE))} = trade-economy: recall {trade.recall:.2f}",
        f"topics, Reuters (every tenth), {', '.join(sorted(REUTERS_ENERGY))} = environment-energy: {energy}",
    ]


def _ntrex(folder: Path, compiled: TopicIndex) -> list[str]:
    by_document: dict[str, dict[str, frozenset[str]]] = {}
    for row in rows(folder, "ntrex_dev"):
        if row["lang"] in {"en", "zh", "ko", "ja", "ru"}:
            given = topics_of(compiled, row["title"], row["text"], row["lang"])
            by_document.setdefault(row["id"].rpartition("-")[0], {})[row["lang"]] = given
    lines = []
    for one, other in combinations(("en", "zh", "ko", "ja", "ru"), 2):
        pairs = [(tags[one], tags[other]) for tags in by_document.values() if one in tags and other in tags]
        if pairs:
            mean = sum(len(a & b) / len(a | b) if a | b else 1.0 for a, b in pairs) / len(pairs)
            lines.append(f"  {one}-{other}: {mean:.2f}")
    return ["topics, agreement of translations (mean Jaccard over the same documents, ntrex):", *lines] if lines else []
