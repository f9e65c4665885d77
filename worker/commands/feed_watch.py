"""The feed list while a poller runs: had at the start, looked at again and again, swapped when another is right."""

from __future__ import annotations

import asyncio
import logging

from worker.edges.feed_source import Feeds, FeedSource
from worker.edges.yaml_file import FileFaults
from worker.loops.poller import Poller
from worker.metrics import Metrics
from worker.polling import RemoteAway
from worker.service import Service

logger = logging.getLogger(__name__)


def first_list(source: FeedSource, service: Service, *, patient: bool) -> Feeds | None:
    """
    Return the list; None when the process is to stop before it is there.

    *patient*: wait, unready, for one that is wrong or not to be had, as for an address. Raises: FileFaults: without.
    """
    besides = (RemoteAway, FileFaults) if patient else ()
    return service.patiently("feed list", lambda: asyncio.run(source.first()), besides=besides)


async def watch(source: FeedSource, poller: Poller, metrics: Metrics, stop: asyncio.Event, *, every_s: float) -> None:
    """Look at *source* until cancelled: *poller* polls each list that is right, else the one before."""
    told = ""
    while True:
        await asyncio.sleep(every_s)
        try:
            feeds = await source.changed()
        except (RemoteAway, FileFaults) as error:
            metrics.feed_list_refused.set(1)
            reason = " ".join(str(error).split())[:500]
            if reason != told:
                logger.warning("the feed list is not taken; the one before stays in force", extra={"reason": reason})
            told = reason
            continue
        told = ""
        metrics.feed_list_refused.set(0)
        if feeds is not None:
            ids = [feed.id for feed in feeds if feed.enabled]
            metrics.set_feeds(ids)
            await poller.change(feeds, stop)
            logger.info("the feed list changed", extra={"feeds": len(ids)})
