"""What is configured about a feed; the feed list (edges/feed_list.py) is read into these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from worker.records import FeedInfo, Rights

DEFAULT_INTERVAL_S = 300.0
DAY_S = 86_400.0


class FullText(StrEnum):
    """When the page behind an entry is fetched."""

    NEVER = "never"
    WHEN_SHORT = "when-short"
    """When the feed gives fewer than poller.SHORT_TEXT characters of text."""
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedLimits:
    """What one feed may cost; the feed list can change each of these for a feed."""

    max_bytes: int = 5 * 1024 * 1024
    """Of a feed's document, after decompression."""
    max_page_bytes: int = 10 * 1024 * 1024
    """Of a page, after decompression."""
    first_age_s: float = DAY_S
    """The first poll takes entries no older than this; older ones are only remembered."""
    pages_per_poll: int = 50
    """Further entries of the same poll are published without their page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedConfig:
    """One feed to poll: exactly one of `url` and `path` is set."""

    id: str
    url: str | None = None
    path: Path | None = None
    title: str | None = None
    interval_s: float = DEFAULT_INTERVAL_S
    language: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    rights: Rights = field(default_factory=Rights)
    full_text: FullText = FullText.NEVER
    private: bool = False
    """The feed's own host may have a non-public address and any port."""
    enabled: bool = True
    limits: FeedLimits = field(default_factory=FeedLimits)

    @property
    def source(self) -> str:
        """Return the configured address or path, as the feed state keeps it."""
        return self.url or str(self.path)

    def info(self, *, title: str | None = None, language: str | None = None) -> FeedInfo:
        """Return what travels with each article; *title* and *language* are the feed's own, used where none is set."""
        return FeedInfo(
            id=self.id,
            url=self.url,
            title=self.title or title,
            language=self.language or language,
            labels=self.labels,
            rights=self.rights,
        )
