"""The rules while a worker runs: a thread looks at them again and again, and swaps what is right between batches."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from worker.edges.taxonomy_source import TaxonomySource
from worker.edges.yaml_file import FileFaults
from worker.metrics import Metrics
from worker.polling import RemoteAway
from worker.ports import LogUnavailable, WrongSettings
from worker.ruleset import Taxonomy

logger = logging.getLogger(__name__)


class TaxonomyWatch:
    """Hands rules that changed to *use*; those that are wrong, or lack a topic, leave the ones before in force."""

    def __init__(
        self,
        source: TaxonomySource,
        *,
        every_s: float,
        check: Callable[[Iterable[str]], None],
        use: Callable[[Taxonomy], None],
        metrics: Metrics,
        failed: Callable[[], None],
    ) -> None:
        """*check* raises when a topic of the routes is missing; *failed* is told of a fault of ours."""
        self._source = source
        self._every_s = every_s
        self._check = check
        self._use = use
        self._metrics = metrics
        self._failed = failed
        self._told = ""
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="taxonomy", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End without waiting for a look that is under way. Raises: what was a fault of ours."""
        self._stop.set()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._every_s):
                self.look()
        except Exception as error:  # noqa: BLE001 - raised again by close, on the main thread
            self._error = error
            self._failed()

    def look(self) -> None:
        """Look once."""
        try:
            taxonomy = self._source.changed()
            if taxonomy is not None:
                self._check(dict.fromkeys(route.topic for route in taxonomy.routes))
        except (FileFaults, RemoteAway, WrongSettings, LogUnavailable) as error:
            self._metrics.taxonomy_refused.set(1)
            reason = " ".join(str(error).split())[:500]
            if reason != self._told:
                logger.warning("the taxonomy is not taken; the one before stays in force", extra={"reason": reason})
            self._told = reason
            return
        self._told = ""
        self._metrics.taxonomy_refused.set(0)
        if taxonomy is not None:
            self._source.take()
            self._metrics.set_rules(taxonomy)
            self._use(taxonomy)
            logger.info("the taxonomy changed", extra={"taxonomy": taxonomy.version})
