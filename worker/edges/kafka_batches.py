"""
Read batches whose records bear header names that are no UTF-8.

The client library decodes them strictly: one such record in a public topic would stop every reader at its offset for
ever. Here the record that fails is read once more with the odd bytes replaced; all others cost nothing. Reaches into
kafka-python 3.0 (pinned below 3.1); tests/edges/test_kafka_log.py has the record that shows it.
"""

from __future__ import annotations

from typing import Any, SupportsIndex

from kafka.record import memory_records
from kafka.record.default_records import DefaultRecordBatch


class _Lenient(bytes):
    """Bytes that decode whatever they hold, and whose slices do so too."""

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        part = super().__getitem__(key)
        return _Lenient(part) if isinstance(part, bytes) else part

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002 (the caller means strict)
        return super().decode(encoding, "replace")


class LenientBatch(DefaultRecordBatch):  # type: ignore[misc]  # untyped
    """A batch in which odd header names cost a name, not the record."""

    def _read_msg(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super()._read_msg(*args, **kwargs)
        except UnicodeDecodeError:
            strict: Any = self._buffer
            self._buffer: Any = _Lenient(strict)
            try:
                return super()._read_msg(*args, **kwargs)
            finally:
                self._buffer = strict


def install() -> None:
    """Let all consumers of this process read with `LenientBatch`."""
    memory_records.DefaultRecordBatch = LenientBatch
