"""
The header `judged`: on what a verdict was given, and all of it that the record itself does not say.

It stands on enriched records and duplicates, so that a seen store that lost its memory can be rebuilt of them: texts
may be withheld, cut or absent there, hashes of them are not. Base64 of msgpack; new fields are added at the end.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime

import msgspec

from worker.ports import LogRecord
from worker.records import Basis, Coordinates, Fingerprint, Published, Verdict, VerdictKind

HEADER = "judged"
_STORY_ID = re.compile("[0-9a-f]{64}")


class _Judged(msgspec.Struct, array_like=True, frozen=True):
    basis: Basis
    publisher: str
    text_state: bytes
    link_key: bytes | None
    guid_key: bytes | None
    copy_key: bytes | None
    about: bytes | None
    """The story spoken of; None: the record's own."""
    version: int
    first_seen: datetime
    independent_sources: int
    copies: int
    matched_by: str | None
    original_publisher: str | None
    origin_key: bytes | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Judged).decode


def judged_header(fingerprint: Fingerprint, verdict: Verdict) -> tuple[str, bytes]:
    """Return the header for the record that tells *verdict*."""
    judged = _Judged(
        fingerprint.basis,
        fingerprint.publisher,
        bytes.fromhex(fingerprint.text_state),
        _bytes(fingerprint.link_key),
        _bytes(fingerprint.guid_key),
        _bytes(fingerprint.copy_key),
        None if verdict.story == fingerprint.story else bytes.fromhex(verdict.story),
        verdict.version,
        verdict.first_seen,
        verdict.independent_sources,
        verdict.copies,
        verdict.matched_by,
        verdict.original_publisher,
        _bytes(fingerprint.origin_key),
    )
    return HEADER, base64.b64encode(_encode(judged))


def read_judged(record: LogRecord, raw: Coordinates) -> Published | None:
    """Return what *record*, made of the one at *raw*, says of its verdict; None when it does not say it."""
    headers = dict(record.headers)
    routes = headers.get("routes")
    try:
        story, feed, kind = (record.key or b"").decode(), headers["feed"].decode(), headers["kind"].decode()
        judged = _decode(base64.b64decode(headers[HEADER], validate=True))
        verdict = Verdict(
            kind=VerdictKind(kind),
            story=story if judged.about is None else judged.about.hex(),
            version=judged.version,
            first_seen=judged.first_seen,
            independent_sources=judged.independent_sources,
            copies=judged.copies,
            matched_by=judged.matched_by,
            original_publisher=judged.original_publisher,
        )
    except (KeyError, ValueError, binascii.Error, msgspec.DecodeError):
        return None
    if not _STORY_ID.fullmatch(story):
        return None
    return Published(
        fingerprint=Fingerprint(
            raw=raw,
            story=story,
            feed=feed,
            publisher=judged.publisher,
            basis=judged.basis,
            text_state=judged.text_state.hex(),
            link_key=_hex(judged.link_key),
            guid_key=_hex(judged.guid_key),
            copy_key=_hex(judged.copy_key),
            origin_key=_hex(judged.origin_key),
        ),
        verdict=verdict,
        at=datetime.fromtimestamp(record.timestamp_ms / 1000, UTC),
        routes=None if routes is None else tuple(filter(None, routes.decode("ascii", "replace").split(","))),
    )


def _bytes(key: str | None) -> bytes | None:
    return None if key is None else bytes.fromhex(key)


def _hex(key: bytes | None) -> str | None:
    return None if key is None else key.hex()
