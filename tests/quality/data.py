"""Read the labelled sets; none of their text is part of the project."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from worker.records import Article, Basis, FeedInfo

FOLDER = Path(os.environ.get("DATELINE_EVAL_DIR") or Path(__file__).parents[2] / ".." / "shared" / "eval")
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def rows(name: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of one set; none when its file is missing."""
    path = FOLDER / f"{name}.jsonl.gz"
    if path.exists():
        with gzip.open(path, "rt", encoding="utf-8") as file:
            yield from map(json.loads, file)


def article(row: dict[str, Any]) -> Article:
    """Return a row as an article; a title that opens the text again stands only once."""
    title, body = row["title"], row["text"]
    if title and body.startswith(title):
        body = body[len(title) :].lstrip()
    return Article(
        story=row["id"],
        feed=FeedInfo(id="quality"),
        title=title,
        body=body,
        basis=Basis.FEED,
        extraction="text",
        language=row["lang"],
        link=None,
        canonical_link=None,
        guid=None,
        fetched_at=_NOW,
        published_at=None,
    )
