"""Run one article through every stage and keep what each of them said."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from worker.loops.tagging import tag
from worker.records import (
    Article,
    Coordinates,
    Enriched,
    Fingerprint,
    RawArticle,
    Rejected,
    Verdict,
    VerdictKind,
)
from worker.ruleset import Taxonomy
from worker.stages.extract import Detect, extract
from worker.stages.fingerprint import fingerprint
from worker.stages.route import RouteDecision, explain

_NOWHERE = Coordinates(topic="explain", partition=0, offset=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What the stages say of an article, taken as new."""

    article: Article
    fingerprint: Fingerprint
    enriched: Enriched
    routes: tuple[RouteDecision, ...]


def explain_article(raw: RawArticle, taxonomy: Taxonomy, detect: Detect, *, now: datetime) -> Explanation | Rejected:
    """Return what every stage makes of *raw*; nothing is looked up and nothing remembered."""
    article = extract(raw, detect)
    if isinstance(article, Rejected):
        return article
    verdict = Verdict(kind=VerdictKind.NEW, story=raw.story, version=1, first_seen=now)
    tags = tag(article, taxonomy)
    return Explanation(
        article=article,
        fingerprint=fingerprint(article, _NOWHERE),
        enriched=Enriched(
            article=article,
            verdict=verdict,
            tags=tags,
            enriched_at=now,
            taxonomy=taxonomy.version,
            raw=_NOWHERE,
        ),
        routes=explain(taxonomy.routes, tags=tags, article=article, verdict=verdict),
    )
