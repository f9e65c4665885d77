"""What may be believed of an HTTP answer: its headers, status, Retry-After, and its body within bounds."""

from __future__ import annotations

import re
import zlib
from email.utils import parsedate_to_datetime

import aiohttp

from worker.polling import FetchFailed, FetchReason

RATIO = 100
RATIO_FROM = 1024 * 1024
MAX_RETRY_AFTER_S = 86_400.0
_VALIDATOR = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,1022}[\x21-\x7e])?")
_CODINGS = {"": False, "identity": False, "gzip": True, "x-gzip": True}
_STATUS = {
    404: FetchReason.NOT_FOUND,
    410: FetchReason.GONE,
    401: FetchReason.FORBIDDEN,
    403: FetchReason.FORBIDDEN,
    429: FetchReason.RATE_LIMITED,
}


class Failure(Exception):
    """Carries a failure out of the depth of a fetch."""

    def __init__(self, value: FetchFailed) -> None:
        self.value = value
        super().__init__(value.reason)

    @classmethod
    def of(cls, reason: FetchReason, detail: str, status: int | None = None) -> Failure:
        return cls(FetchFailed(reason=reason, detail=detail, status=status))


def header(response: aiohttp.ClientResponse, name: str) -> str | None:
    """Return the first header of that name, None when there is none."""
    value: str | None = response.headers.get(name)
    return value


def validator(value: str | None) -> str | None:
    """Return an ETag or Last-Modified that may be stored and sent back: visible ASCII, at most 1 KiB."""
    return value if value and _VALIDATOR.fullmatch(value) else None


def refused_status(status: int, wait_s: float | None) -> FetchFailed:
    """Return what a status other than 200 and 304 means."""
    reason = _STATUS.get(status) or (FetchReason.SERVER if status >= 500 else FetchReason.STATUS)
    return FetchFailed(reason=reason, detail=f"status {status}", retry_after_s=wait_s, status=status)


def retry_after(value: str | None, now_s: float) -> float | None:
    """Return the seconds that a Retry-After asks for, at most a day; None for what makes no sense or is past."""
    value = (value or "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:12]), MAX_RETRY_AFTER_S)
    try:
        wait = parsedate_to_datetime(value).timestamp() - now_s
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(wait, MAX_RETRY_AFTER_S) if wait > 0 else None


async def read_body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """
    Return the body, decompressed. Memory stays near *max_bytes* whatever is sent.

    Raises: Failure: coding, too large, a bomb, cut short; aiohttp.ClientPayloadError: fewer bytes than promised.
    """
    coding = ",".join(response.headers.getall("Content-Encoding", [])).strip().lower()
    if coding not in _CODINGS:
        raise Failure.of(FetchReason.CODING, f"content coding {coding[:40]!r}")
    if (response.content_length or 0) > max_bytes:
        raise Failure.of(FetchReason.TOO_LARGE, f"promises {response.content_length} bytes")
    body = bytearray()
    unzip = _Gunzip(max_bytes) if _CODINGS[coding] else None
    async for piece in response.content.iter_any():
        body += piece if unzip is None else unzip.feed(piece, len(body))
        if len(body) > max_bytes:
            raise Failure.of(FetchReason.TOO_LARGE, f"more than {max_bytes} bytes")
    if unzip is not None and not unzip.complete:
        raise Failure.of(FetchReason.TRUNCATED, "the gzip stream ends early")
    return bytes(body)


class _Gunzip:
    """Decompresses gzip, several members too, and stops at the bounds."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._read = 0

    @property
    def complete(self) -> bool:
        """Tell whether the last member ended, or nothing came at all."""
        return self._inner.eof or self._read == 0

    def feed(self, piece: bytes, before: int) -> bytes:
        """Return what *piece* adds to *before* bytes. Raises: Failure."""
        self._read += len(piece)
        out = bytearray()
        while piece:
            if self._inner.eof:
                if not piece.startswith(b"\x1f"):
                    break  # padding behind the last member
                self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)
            try:
                out += self._inner.decompress(piece, self._max + 1 - before - len(out))
            except zlib.error as error:
                raise Failure.of(FetchReason.CODING, "not gzip") from error
            size = before + len(out)
            if size > RATIO_FROM and size > RATIO * self._read:
                raise Failure.of(FetchReason.BOMB, f"grows more than {RATIO} times")
            if size > self._max:
                raise Failure.of(FetchReason.TOO_LARGE, f"more than {self._max} bytes")
            piece = self._inner.unused_data or self._inner.unconsumed_tail
        return bytes(out)
