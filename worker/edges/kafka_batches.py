"""
Read batches whose records bear header names that are no UTF-8, and say of others at which offsets they cannot be read.

The client library decodes header names strictly: one such record in a public topic would stop every reader at its
offset for ever. Here the record that fails is read once more with the odd bytes replaced; all others cost nothing.
Reaches into kafka-python 3.0 (pinned below 3.1); tests/edges/test_kafka_log.py has the record that shows it.
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


class UnreadableBatch(Exception):
    """A batch that nobody can unpack."""


class LenientBatch(DefaultRecordBatch):  # type: ignore[misc]  # untyped
    """A batch in which odd header names cost a name, not the record."""

    def validate_crc(self) -> bool:
        if not super().validate_crc():
            raise self._unreadable("its checksum is wrong")
        return True

    def __iter__(self) -> Any:
        try:
            return super().__iter__()
        except Exception as error:
            raise self._unreadable(error) from error

    def _unreadable(self, why: object) -> UnreadableBatch:
        first, last = self.base_offset, self.last_offset
        return UnreadableBatch(
            f"the batch of offsets {first} to {last} cannot be unpacked ({why}); behind it: {last + 1}"
        )

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
        except Exception as error:
            raise self._unreadable(error) from error


def install() -> None:
    """Let all consumers of this process read with `LenientBatch`."""
    memory_records.DefaultRecordBatch = LenientBatch


def place(consumer: Any) -> str:
    """Return the topic and partition that *consumer* was unpacking when it failed, if it was."""
    records = consumer._fetcher._next_partition_records  # noqa: SLF001
    return f"{records.topic_partition.topic}, partition {records.topic_partition.partition}: " if records else ": "
