"""
What the new stories are about, counted: by region, topic and language, and by region and topic together.

Counted in plain dicts that are made into metrics when somebody asks: a story costs about a microsecond so, and the four
locked counters of the client library several.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from worker.records import Enriched
from worker.stages.language import LANGUAGES

_OTHER = ("other",)
"""A code that the rules in force do not know; a feed may name any language."""
_UNTAGGED = ("untagged",)


class _Counts(Collector):
    """A counter by label values, written by one thread only."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self._name, self._text, self._labels = name, text, labels
        self.by_value: defaultdict[tuple[str, ...], int] = defaultdict(int)

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for values, count in self.by_value.copy().items():  # in one step: the loop goes on counting
            family.add_metric(values, count)
        yield family


class ContentMix:
    """Four counters whose labels take known codes only, and `other` and `untagged`."""

    def __init__(self, registry: CollectorRegistry, *, regions: Iterable[str], topics: Iterable[str]) -> None:
        """*regions*, *topics*: those of the rules in force, which all stand at 0 from the start; none: tags nothing."""
        self._regions = _Counts("dateline_story_regions", "New stories committed, by region they are about", "region")
        self._topics = _Counts("dateline_story_topics", "New stories committed, by topic", "topic")
        self._languages = _Counts("dateline_story_languages", "New stories committed, by language", "language")
        self._both = _Counts(
            "dateline_story_region_topics",
            "New stories committed, by region they are about and topic; what never came together has no 0",
            "region",
            "topic",
        )
        self._language_of = {code: (code,) for code in LANGUAGES} | {"und": _UNTAGGED}
        self.know(regions=regions, topics=topics)
        for counts in (self._regions, self._topics, self._languages, self._both):
            registry.register(counts)

    def know(self, *, regions: Iterable[str], topics: Iterable[str]) -> None:
        """Take these as the codes of the rules in force; any thread may say so."""
        self._region_of = {code: (code,) for code in sorted(regions)}
        self._topic_of = {slug: (slug,) for slug in sorted(topics)}
        if self._region_of or self._topic_of:
            for counts, known in (
                (self._regions, self._region_of),
                (self._topics, self._topic_of),
                (self._languages, self._language_of),
            ):
                for values in (*known.values(), _OTHER, _UNTAGGED):
                    counts.by_value.setdefault(values, 0)

    def count(self, story: Enriched) -> None:
        """Count one new story, once it is committed."""
        tags = story.tags
        region_of, topic_of = self._region_of, self._topic_of
        regions = {region_of.get(tag.code, _OTHER) for tag in tags.regions if tag.about} or {_UNTAGGED}
        topics = {topic_of.get(tag.slug, _OTHER) for tag in tags.topics} or {_UNTAGGED}
        self._languages.by_value[self._language_of.get(story.article.language, _OTHER)] += 1
        for topic in topics:
            self._topics.by_value[topic] += 1
        by_region, both = self._regions.by_value, self._both.by_value
        for region in regions:
            by_region[region] += 1
            for topic in topics:
                both[region + topic] += 1
