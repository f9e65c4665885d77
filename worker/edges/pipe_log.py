"""
A log that is a pair of pipes: JSON lines in, one JSON line out for each, in the same order; nothing is kept.

It is a `Member` like that of any log, so that `dateline pipe` runs the very loop that the workers run.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from worker import wire
from worker.enriching import TopicNames
from worker.ports import Batch, LogRecord, NewRecord, TopicPartition
from worker.records import RawArticle, Rejected
from worker.short_form import read_article

MAX_LINE_BYTES = 64 * 1024 * 1024
_READ_BYTES = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """What must be remembered of a line until its answer."""

    id: Any
    refused: Rejected | None


class PipeMember:
    """Reads lines from one file descriptor and hands answers to *write*, a line each."""

    def __init__(self, source: int, write: Callable[[bytes], object], topics: TopicNames) -> None:
        self._source = source
        self._write = write
        self._topics = topics
        # A name of its own for each run: a seen store that is kept must not take line 1 for line 1 of the last run.
        self._name = f"pipe.{uuid.uuid4().hex}"
        self._partial = bytearray()
        self._lines: list[bytes] = []
        self._next = 0
        self._waiting: dict[int, _Line] = {}
        self._eof = False

    @property
    def finished(self) -> bool:
        """Tell that every line was answered and none will come."""
        return self._eof and not self._lines and not self._waiting

    def poll(self, *, timeout_s: float, max_records: int = 500) -> Batch:  # noqa: ARG002  (a pipe waits as long as it must)
        """Return the lines that are there; wait for the first."""
        while not self._lines and not self._eof:
            self._fill()
        lines, self._lines = self._lines[:max_records], self._lines[max_records:]
        return Batch(records=tuple([self._record(line) for line in lines]))

    def _fill(self) -> None:
        data = os.read(self._source, _READ_BYTES)
        if not data:
            self._eof = True
            data = b"\n"
        if len(self._partial) <= MAX_LINE_BYTES:  # of a longer line only so much is kept as shows that it is too long
            self._partial += data
        elif b"\n" in data:
            self._partial += data[data.index(b"\n") :]
        if b"\n" in data:
            *lines, rest = bytes(self._partial).split(b"\n")
            self._lines += [line for line in lines if line.strip()]
            self._partial = bytearray(rest)

    def _record(self, line: bytes) -> LogRecord:
        """Return *line* as a raw record; one that cannot be read stands in the batch as it is, to be refused there."""
        now = datetime.now(UTC)
        article: RawArticle | Rejected
        if len(line) > MAX_LINE_BYTES:
            article, given = Rejected(reason="too-large", detail=f"more than {MAX_LINE_BYTES} bytes"), None
        else:
            article, given = read_article(line, now=now)
        offset = self._next
        self._next += 1
        key = value = refused = None
        if isinstance(article, Rejected):
            refused = article
        else:
            key, value = article.story.encode(), wire.raw_value(article)
            given = article.story if given is None else given
        self._waiting[offset] = _Line(id=given, refused=refused)
        return LogRecord(
            topic=self._name,
            partition=0,
            offset=offset,
            timestamp_ms=int(now.timestamp() * 1000),
            key=key,
            value=value,
        )

    def commit(self, batch: Batch, outputs: Sequence[NewRecord]) -> None:
        """Answer every line of *batch*."""
        by_offset: dict[int, list[NewRecord]] = {}
        for output in outputs:
            raw = wire.raw_coordinates(output.headers)
            if raw is not None:
                by_offset.setdefault(raw.offset, []).append(output)
        for record in batch.records:
            answer = self._answer(self._waiting.pop(record.offset), by_offset.get(record.offset, []))
            self._write(orjson.dumps(answer) + b"\n")

    def _answer(self, line: _Line, outputs: Sequence[NewRecord]) -> dict[str, Any]:
        routes = []
        answer: dict[str, Any] = {"id": line.id}
        for output in outputs:
            kind = wire.header(output.headers, "kind")
            if output.topic == self._topics.dead_letter:
                reason = line.refused.reason if line.refused else wire.header(output.headers, "dateline-reason")
                answer |= {"outcome": "dead-letter", "reason": reason}
                detail = line.refused.detail if line.refused else wire.header(output.headers, "dateline-detail")
                if detail:
                    answer["detail"] = detail
            elif output.topic == self._topics.duplicates:
                answer |= {"outcome": "duplicate", "reason": kind, "record": _json(output)}
            elif output.topic == self._topics.enriched:
                answer |= {"outcome": "enriched", "reason": kind, "record": _json(output)}
            elif kind != "unrouted":
                routes.append(output.topic.removeprefix(self._topics.prefix))
        record = answer.pop("record", None)
        answer["routes"] = routes
        if record is not None:
            answer["record"] = record
        return answer

    def rewind(self) -> None:
        """Nothing comes twice from a pipe: what was read and not answered is lost with the process."""
        raise RuntimeError("a pipe cannot be read again")

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """Nothing in a pipe is of another release."""
        raise RuntimeError(f"a pipe cannot be read later: {partitions}")

    def paused(self) -> frozenset[TopicPartition]:
        return frozenset()

    def assigned(self) -> frozenset[TopicPartition]:
        return frozenset({(self._name, 0)})

    def lag(self) -> Mapping[TopicPartition, int]:
        return {}

    def close(self) -> None:
        """Nothing to release."""


def _json(output: NewRecord) -> orjson.Fragment:
    """Return the record's value as it is, to stand inside the answer."""
    return orjson.Fragment(output.value or b"null")
