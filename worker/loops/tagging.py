"""
Ask every tagger about one article, in order; none of them can hold the article up.

After its verdict no record is refused: a tagger that raises is left out, and the record says which.
"""

from __future__ import annotations

import logging

from worker.records import Article, Evidence, PairTag, PlaceTag, RegionTag, Tags, TopicTag
from worker.ruleset import Taxonomy
from worker.stages.pairs import tag_pairs
from worker.stages.regions import tag_regions
from worker.stages.topics import tag_topics

_log = logging.getLogger(__name__)


def tag(article: Article, taxonomy: Taxonomy) -> Tags:
    """Return all tags of *article*; `Tags.failed` names the taggers that raised."""
    regions: tuple[RegionTag, ...] = ()
    places: tuple[PlaceTag, ...] = ()
    pairs: tuple[PairTag, ...] = ()
    topics: tuple[TopicTag, ...] = ()
    evidence: list[Evidence] = []
    failed: list[str] = []
    try:
        found = tag_regions(article, taxonomy.gazetteer)
        regions, places = found.regions, found.places
        evidence.extend(found.evidence)
    except Exception:  # noqa: BLE001  (a tag may be missing, a story may not)
        _failed("regions", article, failed)
    else:
        try:
            related = tag_pairs(article, found.mentions, found.regions, taxonomy.pairs)
            pairs = related.pairs
            evidence.extend(related.evidence)
        except Exception:  # noqa: BLE001  (a tag may be missing, a story may not)
            _failed("pairs", article, failed)
    try:
        subjects = tag_topics(article, taxonomy.topics)
        topics = subjects.topics
        evidence.extend(subjects.evidence)
    except Exception:  # noqa: BLE001  (a tag may be missing, a story may not)
        _failed("topics", article, failed)
    return Tags(
        regions=regions,
        places=places,
        pairs=pairs,
        topics=topics,
        evidence=tuple(evidence),
        failed=tuple(failed),
    )


def _failed(tagger: str, article: Article, failed: list[str]) -> None:
    failed.append(tagger)
    _log.exception(
        "tagger failed; the story goes out without its tags", extra={"tagger": tagger, "story": article.story}
    )
