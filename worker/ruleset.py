"""All rules by which articles are tagged and routed, as one value; some of it is compiled when an article needs it."""

from __future__ import annotations

from dataclasses import dataclass

from worker.gazetteer import PairRules
from worker.ninjs import Vocabulary
from worker.stages.route import Route
from worker.stages.topics import TopicIndex
from worker.toponyms import Gazetteer


@dataclass(frozen=True, slots=True, kw_only=True)
class Taxonomy:
    """What `edges/taxonomy.load_taxonomy` makes of the shipped files and a user's."""

    version: str
    """Of the shipped files, and `+` a hash of the user's where there are any."""
    gazetteer: Gazetteer
    pairs: PairRules
    topics: TopicIndex
    routes: tuple[Route, ...]
    vocabulary: Vocabulary
    """Names for the published record."""
