"""A whole Dateline installation for a test: its settings, its processes, and a look into its topics."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.services import KafkaBroker, RedisServer
from worker.edges.data_folder import LOG_FILE
from worker.edges.kafka_log import KafkaLog
from worker.edges.kafka_settings import KafkaSettings
from worker.edges.sqlite_log import SqliteLog
from worker.enriching import TopicNames
from worker.ports import Log, LogRecord

ROOT = Path(__file__).parents[2]


class Installation:
    """Embedded in *folder*, or on a broker and a Redis under names of its own."""

    def __init__(self, folder: Path, *, kafka: KafkaBroker | None = None, redis: RedisServer | None = None) -> None:
        self.folder = folder
        self._kafka = kafka
        own = f"t{uuid.uuid4().hex[:10]}"
        self.topics = TopicNames(prefix=f"{own}.")
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DATELINE_")},
            "DATELINE_DATA_DIR": str(folder / "data"),
            "DATELINE_TOPICS_PREFIX": self.topics.prefix,
            "DATELINE_TOPICS_PARTITIONS": "4",
            "DATELINE_HTTP_PORT": "0",
        }
        if kafka is not None and redis is not None:
            self.environ |= {
                "DATELINE_KAFKA_BOOTSTRAP": kafka.bootstrap,
                "DATELINE_KAFKA_GROUP_PREFIX": f"{own}.",
                "DATELINE_KAFKA_TRANSACTIONAL_ID_PREFIX": f"{own}.",
                "DATELINE_KAFKA_SESSION_TIMEOUT": "6s",
                "DATELINE_SEEN_URL": redis.url,
                "DATELINE_SEEN_NAMESPACE": own,
            }

    def run(
        self, *command: str, stdin: bytes = b"", timeout_s: float = 90.0, environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `dateline` with *command* to its end and return what it printed and its exit code."""
        return subprocess.run(
            [sys.executable, "-m", "worker", *command],
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            cwd=ROOT,
            env={**self.environ, **(environ or {})},
            check=False,
        )

    def start(
        self,
        *command: str,
        environ: Mapping[str, str] | None = None,
        module: str = "worker",
        within: Sequence[str] = (),
    ) -> subprocess.Popen[bytes]:
        """
        Start `dateline` with *command*; what it says goes to a file in the folder.

        *module*: what Python runs, the program itself or one that changes it. *within*: the beginning of the command
        line, of a program that gives it other surroundings.
        """
        with (self.folder / f"{command[0]}-{uuid.uuid4().hex[:6]}.log").open("wb") as said:
            return subprocess.Popen(
                [*within, sys.executable, "-m", *module.split(), *command],
                stdout=said,
                stderr=said,
                cwd=ROOT,
                env={**self.environ, **(environ or {})},
            )

    @contextmanager
    def log(self) -> Iterator[Log]:
        """Open the installation's log."""
        log: Log
        if self._kafka is None:
            (self.folder / "data").mkdir(exist_ok=True)
            log = SqliteLog.open(self.folder / "data" / LOG_FILE)
        else:
            log = KafkaLog.open(KafkaSettings(bootstrap=self._kafka.bootstrap))
        try:
            yield log
        finally:
            log.close()

    def read(self, topics: Sequence[str]) -> list[LogRecord]:
        """Return all committed records of those of *topics* that are there."""
        with self.log() as log:
            there = [topic for topic in topics if topic in log.topics()]
            reader = log.reader(there)
            records: list[LogRecord] = []
            try:
                while not reader.at_end():
                    records += reader.read(timeout_s=1.0)
            finally:
                reader.close()
            return records
