"""Read raw records: their bytes become an article, or the reason why not; a newer release's are neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b

from worker import wire
from worker.ports import Batch, LogRecord, TopicPartition
from worker.records import Article, Fingerprint, RawArticle, Rejected
from worker.stages.extract import Detect, extract
from worker.stages.fingerprint import fingerprint
from worker.stages.links import canonical_link


def until_newer_major(batch: Batch) -> tuple[Batch, Mapping[TopicPartition, str]]:
    """
    Leave out, in each partition, what follows a record of a newer major: it is not bad, and not ours to read.

    Returns what is left, and by partition the type of the record that it was cut at.
    """
    blocked: dict[TopicPartition, str] = {}
    kept = []
    for record in batch.records:
        place = (record.topic, record.partition)
        if place in blocked:
            continue
        newer = wire.newer_major(record)
        if newer is None:
            kept.append(record)
        else:
            blocked[place] = newer
    return (replace(batch, records=tuple(kept)) if blocked else batch), blocked


def article_of(raw: RawArticle, detect: Detect) -> Article | Rejected:
    """Return the article in *raw*; no record may stop the worker, so whatever goes wrong is a refusal."""
    if raw.canonical_link is None and raw.link is not None:
        raw = replace(raw, canonical_link=canonical_link(raw.link))
    try:
        return extract(raw, detect)
    except Exception as error:  # noqa: BLE001  (the record's bytes are kept)
        return Rejected(reason="extraction-failed", detail=f"{type(error).__name__}: {error}"[:1000], stage="extract")


def would_be_refused(record: LogRecord, detect: Detect) -> bool:
    """Tell whether *record* would be refused; one that waits for a newer release would not."""
    if wire.newer_major(record) is not None:
        return False
    raw = wire.decode_raw(record)
    return isinstance(raw, Rejected) or isinstance(article_of(raw, detect), Rejected)


def fingerprint_of(record: LogRecord, article: Article) -> Fingerprint:
    """Return what is judged; a dead letter's second chance is known by where it lay first and by its bytes."""
    made = fingerprint(article, record.coordinates)
    origin = wire.origin_coordinates(record.headers)
    if origin is None:
        return made
    # The bytes too: a topic that was made anew has other records at the same places.
    identity = blake2b(str(origin).encode() + b"\n" + (record.value or b""), digest_size=16)
    return replace(made, origin_key=identity.hexdigest())
