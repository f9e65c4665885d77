"""
Puts the parts together as the settings say; nothing else knows them all.

What only some commands need is loaded when they ask: a poller never loads the taggers, a `tail` neither.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from worker.edges.clock import SystemClock
from worker.edges.data_folder import ready
from worker.edges.settings_file import Origin, data_dir
from worker.edges.yaml_file import Fault, FileFaults
from worker.enriching import EnricherEvents, TopicNames
from worker.options import add_common, load_settings
from worker.ports import Log, Member, SeenStore
from worker.settings import Settings, Where
from worker.stores import open_log, open_seen

if TYPE_CHECKING:
    from worker.edges.feed_settings import Defaults
    from worker.edges.feed_source import FeedSource
    from worker.edges.fetch import FetchSettings
    from worker.edges.taxonomy_source import TaxonomySource
    from worker.feed_config import FeedConfig
    from worker.loops.enricher import Enricher
    from worker.loops.poller import Poller
    from worker.polling import Fetcher, PollerEvents
    from worker.ruleset import Taxonomy

__all__ = ["Setup", "add_common", "setup"]


@contextmanager
def setup(args: argparse.Namespace) -> Iterator[Setup]:
    """Give what the settings of *args* make; all that was opened is closed at the end. Raises: FileFaults."""
    loaded = load_settings(args)
    with ExitStack() as stack:
        yield Setup(loaded.settings, loaded.origins, environ=os.environ, stack=stack)


def _nothing() -> None:
    """Nobody listens."""


class Setup:
    """The parts of an installation, made when they are asked for."""

    def __init__(
        self, settings: Settings, origins: Mapping[Where, Origin], *, environ: Mapping[str, str], stack: ExitStack
    ) -> None:
        self.settings = settings
        self.origins = origins
        self.environ = environ
        self.topics = TopicNames(prefix=settings.topics.prefix)
        self._stack = stack
        self._taxonomy: Taxonomy | None = None
        self._taxonomy_source: TaxonomySource | None = None

    def log(self, *, beat: Callable[[], None] = _nothing, reset: Callable[[], None] = _nothing) -> Log:
        """Open the log, with what it is to call: see stores.open_log. Raises: LogError."""
        log = open_log(self.settings, self.environ, beat=beat, reset=reset)
        self._stack.callback(log.close)
        return log

    def seen(self, *, namespace: str | None = None) -> SeenStore:
        """Open the seen store; *namespace* replaces the configured one. Raises: WrongSettings."""
        store = open_seen(self.settings, self.environ, namespace=namespace)
        self._stack.callback(store.close)
        return store

    def taxonomy(self) -> Taxonomy:
        """Load the rules of regions, pairs, topics and routes, once. Raises: FileFaults, RemoteAway."""
        if self._taxonomy is None:
            self._taxonomy = self.taxonomy_source().first()
        return self._taxonomy

    def taxonomy_source(self) -> TaxonomySource:
        """Return where the rules come from."""
        if self._taxonomy_source is None:
            from worker.edges import taxonomy_source  # noqa: PLC0415

            given = self.settings.taxonomy
            if given.url:
                from worker.edges.remote_file import RemoteFile  # noqa: PLC0415

                remote = RemoteFile(
                    given.url,
                    private=given.private,
                    fetch=self.fetch_settings(),
                    max_bytes=taxonomy_source.MAX_BYTES,
                )
                self._taxonomy_source = taxonomy_source.ArchiveSource(remote, folder=self._data_dir)
            else:
                self._taxonomy_source = taxonomy_source.FolderSource(given.dir)
        return self._taxonomy_source

    def routes(self) -> tuple[str, ...]:
        """Return what follows the prefix in the names of the routes' topics."""
        return tuple(dict.fromkeys(route.topic for route in self.taxonomy().routes))

    def feed_source(self) -> FeedSource:
        """Return where the feed list comes from. Raises: FileFaults: the settings do not say."""
        from worker.edges.feed_source import MAX_BYTES, FileSource, UrlSource  # noqa: PLC0415
        from worker.edges.remote_file import RemoteFile  # noqa: PLC0415

        given = self.settings.poller
        if given.feeds_url:
            remote = RemoteFile(
                given.feeds_url, private=given.feeds_private, fetch=self.fetch_settings(), max_bytes=MAX_BYTES
            )
            return UrlSource(remote, folder=self._data_dir, defaults=self.feed_defaults())
        return FileSource(self.feed_file(), defaults=self.feed_defaults())

    def _data_dir(self) -> Path:
        return ready(data_dir(self.settings, self.environ))

    def feed_file(self) -> Path:
        """Return the feed list's file. Raises: FileFaults: the settings name none."""
        if self.settings.poller.feeds is None:
            raise FileFaults([Fault(file="poller.feeds", line=0, reason="no feed list; give one with --feeds FILE")])
        return self.settings.poller.feeds

    def feed_defaults(self) -> Defaults:
        """Return what counts for a feed that does not say."""
        from worker.edges.feed_settings import Defaults  # noqa: PLC0415

        given = self.settings.poller
        return Defaults(interval_s=given.interval, first_age_s=given.first_poll_max_age, ports=frozenset(given.ports))

    def fetch_settings(self) -> FetchSettings:
        """Return the deadlines and bounds of every fetch."""
        from worker.edges.fetch import FetchSettings  # noqa: PLC0415

        return FetchSettings(ports=frozenset(self.settings.poller.ports), contact=self.settings.poller.contact)

    def poller(
        self, feeds: tuple[FeedConfig, ...], *, log: Log, fetcher: Fetcher, clock: SystemClock, events: PollerEvents
    ) -> Poller:
        """Return a poller of *feeds*; call it inside the event loop that it will run in."""
        from worker.edges import feeds as feed_documents  # noqa: PLC0415
        from worker.loops.poller import Poller, PollerSettings  # noqa: PLC0415

        return Poller(
            feeds,
            log=log,
            fetcher=fetcher,
            parse=feed_documents.parse,
            clock=clock,
            events=events,
            settings=PollerSettings(
                raw_topic=self.topics.raw,
                state_topic=self.topics.feed_state,
                concurrency=self.settings.poller.concurrency,
            ),
        )

    def enricher(
        self,
        *,
        log: Log,
        member: Member,
        seen: SeenStore,
        clock: SystemClock,
        events: EnricherEvents,
        identity: str | None = None,
        output_prefix: str | None = None,
        reprocessed: bool = False,
    ) -> Enricher:
        """
        Return a worker's loop; *output_prefix* and *reprocessed* are for a replay.

        With an *identity* it joins the seen store by itself, and rebuilds it when it is lost.
        """
        from worker.edges.language_model import classify  # noqa: PLC0415
        from worker.loops.enricher import Enricher, EnricherSettings  # noqa: PLC0415
        from worker.loops.past import records_between  # noqa: PLC0415
        from worker.loops.rebuilding import Rebuilding, RebuildSettings  # noqa: PLC0415
        from worker.loops.settled import ends_since  # noqa: PLC0415
        from worker.stages.language import detect  # noqa: PLC0415
        from worker.stages.refusals import Limits  # noqa: PLC0415

        classify("loaded before the first record waits for it")
        given = self.settings.worker
        output = None if output_prefix is None else replace(self.topics, prefix=output_prefix)
        outputs = (self.topics.enriched, self.topics.duplicates, self.topics.dead_letter)
        rebuilding = None
        if identity is not None:
            rebuilding = Rebuilding(
                log=log,
                seen=seen,
                clock=clock,
                events=events,
                settings=RebuildSettings(
                    group=self.settings.group(),
                    identity=identity,
                    topics=self.topics,
                    remembered=timedelta(seconds=self.settings.seen.ttl),
                ),
            )
        return Enricher(
            rebuilding=rebuilding,
            member=member,
            seen=seen,
            taxonomy=self.taxonomy(),
            detect=lambda text, hint: detect(text, hint, classify),
            clock=clock,
            events=events,
            settings=EnricherSettings(
                topics=self.topics,
                output=output,
                max_records=given.batch_max,
                dead_letters=Limits(
                    run=given.dead_letter_run, share=given.dead_letter_share, window=given.dead_letter_window
                ),
                reprocessed=reprocessed,
            ),
            past=partial(records_between, log),
            ends=None if reprocessed else partial(ends_since, log, outputs, beat=events.beat),
        )
