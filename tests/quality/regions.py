"""Precision, recall and F1 of the region tagger on each labelled set, beside the baselines of the sets' README."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import worker
from tests.quality import data
from worker.edges.region_data import load_regions
from worker.records import Mention
from worker.stages.regions import RegionResult, tag_regions
from worker.toponyms import Gazetteer

HISTORICAL = {"SU": {"RU"}, "DD": {"DE"}, "CS": {"CZ", "SK"}, "YU": {"RS"}}
"""What our codes call the states of 1987."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table."""

    name: str
    documents: int
    precision: float | None = None
    recall: float | None = None
    jaccard: float | None = None
    baseline: str = ""

    def __str__(self) -> str:
        if self.jaccard is not None:
            figures = f"Jaccard {self.jaccard:.3f}"
        else:
            both = (self.precision or 0.0) + (self.recall or 0.0)
            f1 = 2 * (self.precision or 0.0) * (self.recall or 0.0) / both if both else 0.0
            figures = f"P {self.precision:.3f}  R {self.recall:.3f}  F1 {f1:.3f}"
        return f"{self.name:34} {self.documents:6}  {figures:30}  {self.baseline}"


def _score(name: str, pairs: Iterable[tuple[set[str], set[str]]], baseline: str = "") -> Line:
    """Micro precision and recall of (wanted, given) over documents."""
    right = given_all = wanted_all = count = 0
    for wanted, given in pairs:
        right += len(wanted & given)
        given_all += len(given)
        wanted_all += len(wanted)
        count += 1
    return Line(
        name=name,
        documents=count,
        precision=right / max(given_all, 1),
        recall=right / max(wanted_all, 1),
        baseline=baseline,
    )


def modern(codes: Iterable[str]) -> set[str]:
    """Return *codes* with those of dissolved states replaced."""
    return {new for code in codes for new in HISTORICAL.get(code, {code})}


def _codes(result: RegionResult, *, about: bool = False) -> set[str]:
    return {tag.code for tag in result.regions if tag.about or not about}


def _span_score(name: str, tag: Callable[[dict[str, Any]], RegionResult], rows: list[dict[str, Any]]) -> Line:
    """Precision of mentions against gold place spans: right when the mention overlaps the text of one."""
    right = given = found = gold = 0
    for row in rows:
        mentions: tuple[Mention, ...] = tag(row).mentions
        spans: list[str] = row["spans"]
        for mention in mentions:
            given += 1
            right += any(mention.text in span or span in mention.text for span in spans)
        gold += len(spans)
        found += sum(any(mention.text in span or span in mention.text for mention in mentions) for span in spans)
    return Line(name=name, documents=len(rows), precision=right / max(given, 1), recall=found / max(gold, 1))


def measure() -> Iterator[Line]:
    """Yield the lines of the table, set after set."""
    gazetteer = Gazetteer(load_regions(Path(worker.__file__).parent / "taxonomy")[0])

    def tag(row: dict[str, Any]) -> RegionResult:
        return tag_regions(data.article(row), gazetteer)

    for name, baseline in (("trnews", ".92/.71/.80"), ("geovirus", ".89/.94/.91"), ("wikinews_dev", "")):
        tagged = [(row, tag(row)) for row in data.rows(name)]
        yield _score(name, ((set(row["countries"]), _codes(result)) for row, result in tagged), baseline)
        if name == "wikinews_dev":
            pairs = ((set(row["countries"]), _codes(result, about=True)) for row, result in tagged)
            yield _score(f"{name}, about", pairs)
    yield from _reuters(tag)
    rows = list(data.rows("bsnlp_dev"))
    baselines = {"ru": ".87/.19/.31", "pl": ".95/.41/.58"}
    for language in sorted({row["lang"] for row in rows}):
        pairs = ((set(row["countries"]), _codes(tag(row))) for row in rows if row["lang"] == language)
        yield _score(f"bsnlp {language}", pairs, baselines.get(language, ""))
    yield from _agreement(tag)
    for name in ("klue_ner_ko_dev", "msra_zh_dev"):
        rows = list(data.rows(name))
        yield _score(f"{name}, countries", ((set(row["countries"]), _codes(tag(row))) for row in rows))
        yield _span_score(f"{name}, place spans", tag, rows)


def _reuters(tag: Callable[[dict[str, Any]], RegionResult]) -> Iterator[Line]:
    tagged = [(modern(row["countries"]) - {"US"}, tag(row)) for row in data.rows("reuters21578_dev")]
    for name, about in (("reuters without US, all tags", False), ("reuters without US, about", True)):
        pairs = ((wanted, modern(_codes(result, about=about)) - {"US"}) for wanted, result in tagged)
        yield _score(name, pairs, ".57/.77/.66")


def _agreement(tag: Callable[[dict[str, Any]], RegionResult]) -> Iterator[Line]:
    """Yield by language the mean Jaccard of the tags of a document and of its English original."""
    clusters: dict[str, dict[str, set[str]]] = {}
    for row in data.rows("ntrex_dev"):
        clusters.setdefault(row["cluster"], {})[row["lang"]] = _codes(tag(row))
    baselines = {"zh": ".73", "ko": ".72", "ja": ".47", "ru": ".24", "ar": ".52"}
    for language, baseline in baselines.items():
        both = [(tags["en"], tags[language]) for tags in clusters.values() if language in tags and "en" in tags]
        values = [len(one & two) / len(one | two) if one | two else 1.0 for one, two in both]
        mean = sum(values) / max(len(values), 1)
        yield Line(name=f"ntrex {language} against en", documents=len(both), jaccard=mean, baseline=baseline)
