"""
Decide where judged records go and what they look like there: routes, what left a route, duplicates, dead letters.

`route` may wait for the seen store; after it nothing can fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker import wire
from worker.enriching import Clock, Judged, TopicNames
from worker.ports import LogRecord, NewRecord, RoutedVersion, SeenStore
from worker.records import Duplicate, Enriched, Rejected, Unrouted, VerdictKind
from worker.ruleset import Taxonomy
from worker.stages.route import matched


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """A story and the routes it goes on, and those that its version before was on and it is not."""

    story: Enriched
    routes: tuple[str, ...]
    left: tuple[str, ...]


class Publisher:
    """Turns what a batch became into the records of its transaction."""

    def __init__(
        self, *, seen: SeenStore, taxonomy: Taxonomy, topics: TopicNames, reprocessed: bool, clock: Clock
    ) -> None:
        self._seen = seen
        self._taxonomy = taxonomy
        self._topics = topics
        self._reprocessed = reprocessed
        self._clock = clock
        self._limits: dict[str, int] = {}
        """Of topics that take less than usual; learnt when one refuses a record."""
        self._route_topics = {route.name: topics.route(route.topic) for route in taxonomy.routes}

    def route(self, stories: Sequence[Enriched]) -> list[Routed]:
        """
        Return *stories* with their routes, which are stored, so that the next version knows what it leaves.

        Raises: SeenStoreAway.
        """
        routes = [
            matched(self._taxonomy.routes, tags=story.tags, article=story.article, verdict=story.verdict)
            for story in stories
        ]
        versions = [
            RoutedVersion(story=story.verdict.story, version=story.verdict.version, routes=names)
            for story, names in zip(stories, routes, strict=True)
            if names or story.verdict.kind is VerdictKind.UPDATE
        ]
        before = self._seen.record_routes(versions) if versions else ()
        earlier = {(item.story, item.version): names for item, names in zip(versions, before, strict=True)}
        return [
            Routed(
                story=story,
                routes=names,
                left=tuple(
                    name
                    for name in earlier.get((story.verdict.story, story.verdict.version), ())
                    if name not in names and name in self._route_topics
                ),
            )
            for story, names in zip(stories, routes, strict=True)
        ]

    def records(
        self,
        routed: Sequence[Routed],
        duplicates: Sequence[Judged],
        refused: Sequence[tuple[LogRecord, Rejected]],
    ) -> list[NewRecord]:
        """Return every record of the transaction."""
        now = self._clock.now()
        outputs: list[NewRecord] = []
        for item in routed:
            story, verdict = item.story, item.story.verdict
            # Routes may share a topic: it gets one record, and hears of a story's leaving when the last of them goes.
            topics = [self._topics.enriched, *dict.fromkeys(self._route_topics[name] for name in item.routes)]
            outputs += wire.enriched_records(
                story, self._taxonomy.vocabulary, topics=topics, routes=item.routes, limit=self._limit(topics)
            )
            for name in item.left:
                if self._route_topics[name] in topics:
                    continue
                gone = Unrouted(story=verdict.story, version=verdict.version, route=name, unrouted_at=now)
                topic = self._route_topics[name]
                outputs.append(wire.unrouted_record(gone, story.raw, topic=topic, reprocessed=self._reprocessed))
        outputs += [self._duplicate(item) for item in duplicates]
        outputs += [
            wire.dead_letter_record(
                record,
                rejected,
                topic=self._topics.dead_letter,
                now=now,
                reprocessed=self._reprocessed,
                limit=self._limit([self._topics.dead_letter]),
            )
            for record, rejected in refused
        ]
        return outputs

    def cut_to(self, topic: str, limit: int) -> bool:
        """From now on cut what goes to *topic* to *limit* bytes; False when it is cut to that already."""
        known = self._limits.get(topic)
        self._limits[topic] = limit
        return known is None or limit < known

    def _limit(self, topics: Sequence[str]) -> int:
        return min(self._limits.get(topic, wire.MAX_RECORD_BYTES) for topic in topics)

    def _duplicate(self, item: Judged) -> NewRecord:
        article, verdict = item.article, item.verdict
        duplicate = Duplicate(
            story=article.story,
            original=verdict.story,
            kind=verdict.kind,
            matched_by=verdict.matched_by or "story",
            similarity=100,
            version=verdict.version,
            feed=article.feed.id,
            publisher=item.fingerprint.publisher,
            judged_at=self._clock.now(),
            original_publisher=verdict.original_publisher,
            title=article.title or None,
            link=article.link,
            language=article.language,
            published_at=article.published_at,
            reprocessed=self._reprocessed,
        )
        return wire.duplicate_record(duplicate, item.fingerprint, verdict, topic=self._topics.duplicates)
