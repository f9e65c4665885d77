"""Run this program as if it were of the next major: it reads raw records of that one too."""

from __future__ import annotations

from worker import wire
from worker.__main__ import main
from worker.ports import LogRecord
from worker.records import RawArticle, Rejected


def _decode(record: LogRecord) -> RawArticle | Rejected:
    return wire.read_raw(record.value)


wire.MAJOR += 1
wire.decode_raw = _decode

if __name__ == "__main__":
    main()
