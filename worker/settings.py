"""
Every setting with its default, meaning and unit; worker/edges/settings_file.py reads them from file and environment.

In the file the names are camelCase under their section (`kafka: {passwordFile: …}`), in the environment
DATELINE_<SECTION>_<NAME> (DATELINE_KAFKA_PASSWORD_FILE). Secrets are never values, only names of files that hold them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

Where = tuple[str, str]
"""Section and field, as in Python: ("kafka", "password_file")."""
Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(gt=0, le=1)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
NamePart = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]*$", max_length=200)]
"""What Kafka allows in names of topics, groups and transactional ids."""
_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|[smhdw]?)\s*")


class Duration(float):
    """A time span in seconds; people write `90s`, `5m`, `12h`, `7d`, `2w` or a number of seconds."""

    @classmethod
    def parse(cls, value: object) -> Duration:
        """Return *value* as seconds. Raises: ValueError: not a duration above zero."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = float(value)
        elif isinstance(value, str) and (match := _DURATION.fullmatch(value)):
            seconds = float(match[1]) * _UNITS[match[2]]
        else:
            seconds = 0.0
        if not 0 < seconds < 1e11:
            raise ValueError(f"Expected a duration above zero like `90s`, `5m`, `12h` or `7d`, got {value!r}")
        return cls(seconds)

    def __str__(self) -> str:
        """Return a short form that `parse` reads."""
        for unit in "dhms":
            if self >= _UNITS[unit] and self % _UNITS[unit] == 0:
                return f"{int(self / _UNITS[unit])}{unit}"
        return f"{float(self):g}s"

    @property
    def ms(self) -> int:
        """The same in milliseconds."""
        return round(self * 1000)


MINUTE, FIVE_MINUTES = Duration(60), Duration(300)
DAY, WEEK, MONTH = Duration(86_400), Duration(7 * 86_400), Duration(30 * 86_400)
SESSION = Duration(15)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """Where the embedded log and seen store lie."""

    dir: Path | None = None
    """Unset: dateline/ below XDG_DATA_HOME, else below ~/.local/share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicsSettings:
    """Names and shape of the topics; shape matters only when they are created."""

    prefix: NamePart = "news."
    partitions: Annotated[int, Meta(ge=1, le=1000)] = 12
    replicas: Annotated[int, Meta(ge=0, le=99)] = 0
    """0: as many as the brokers make by default."""
    min_insync_replicas: Annotated[int, Meta(ge=0, le=99)] = 0
    """0: what the brokers ask for by default."""
    raw_retention: Duration = WEEK
    duplicates_retention: Duration = WEEK
    dead_letter_retention: Duration = MONTH


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """How to reach a Kafka cluster, and the names this installation may use there."""

    bootstrap: str = ""
    """host:port,host:port; empty: no Kafka, the embedded log in data.dir."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"
    user: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    insecure_plaintext: bool = False
    """Permits SASL_PLAINTEXT with PLAIN: the password crosses the network readable."""
    group_prefix: NamePart = ""
    transactional_id_prefix: NamePart = ""
    session_timeout: Duration = SESSION
    """How long a worker may be silent before its partitions go to others; brokers want 6 s or more."""
    assignor: Literal["range", "cooperative-sticky"] = "range"
    """How the workers share the partitions. A running group cannot change it: stop all workers first."""
    leave_on_close: bool = True
    """
    A worker that is stopped leaves its group, so that others take its partitions at once; else after sessionTimeout.

    False where a stopped worker comes back under its name within sessionTimeout: its partitions wait for it.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenSettings:
    """The store that remembers what was judged."""

    url: str = ""
    """redis://, rediss:// or unix:// of a Valkey or Redis server; empty: SQLite in data.dir."""
    password_file: Path | None = None
    ca_file: Path | None = None
    namespace: NamePart = "live"
    """Two installations with different namespaces can share a store."""
    ttl: Duration = MONTH
    """How long a story is remembered after it was last seen."""
    single_machine: bool = False
    """With Kafka and SQLite: all workers of the group run on this machine and use this file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollerSettings:
    """How feeds are fetched."""

    feeds: Path | None = None
    """OPML 2.0 or YAML."""
    feeds_url: str = ""
    """http(s) address that gives the list instead; the last good one stays in force, across restarts in data.dir."""
    feeds_refresh: Duration = MINUTE
    """Between two looks at the list, file or address, while the poller runs."""
    feeds_private: bool = False
    """feedsUrl, and feeds of its list that say `private`, may lead to hosts that are not public."""
    feeds_source: str = ""
    """Where the list comes from, in words; `feeds add` then names it and changes nothing."""
    interval: Duration = FIVE_MINUTES
    """Between two polls of a feed that says nothing else."""
    concurrency: Count = 100
    """Feeds fetched at once."""
    shard: str = ""
    """`1/3`: `dateline poll` takes the second third of the feeds; auto/3: index from the host name; empty: all."""
    first_poll_max_age: Duration = DAY
    """A feed's first poll takes entries younger than this."""
    contact: str = ""
    """Address of a page or mailbox, sent in the User-Agent so that publishers can reach you."""
    ports: tuple[Annotated[int, Meta(ge=1, le=65_535)], ...] = (80, 443, 8080, 8443)
    """Ports that feeds and pages may be fetched from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How raw records are worked off."""

    group: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]+$", max_length=100)] = "enrich"
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    """Processes that `dateline run` starts; one per core is right."""
    batch_max: Annotated[int, Meta(ge=1, le=5000)] = 500
    """Records in one transaction at most."""
    dead_letter_run: Count = 500
    """More dead letters than this in a row, of one partition, stop the worker (exit 7): rather our fault."""
    dead_letter_share: Share = 0.5
    """So does a larger share of a partition's last deadLetterWindow records; 1: never."""
    dead_letter_window: Annotated[int, Meta(ge=1000, le=100_000)] = 1000
    """A new process counts again what came before it, so far back; keep deadLetterRun below it."""
    grace: Duration = MINUTE
    """From SIGTERM until the machine kills the process; it ends itself 5 s before."""
    watchdog: Duration = FIVE_MINUTES
    """A loop that shows no sign of life for this long ends the process (exit 6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxonomySettings:
    """The rules of regions, pairs, topics and routes."""

    dir: Path | None = None
    """A folder of your own; unset: the one in the package."""
    url: str = ""
    """http(s) address that gives a .tar.gz of the folder instead; the last good one stays in force."""
    refresh: Duration = FIVE_MINUTES
    """Between two looks at the rules, folder or address, while a worker runs."""
    private: bool = False
    """The address may lead to a host that is not public."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """
    Where the status page, /metrics, /livez and /readyz answer. `dateline run` gives its workers the ports that follow.

    Unset, `dateline run` still has a page: on 9464, or a free port when that is taken; its workers have none.
    """

    host: str = "127.0.0.1"
    port: Port = 0
    """0: no server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What the program says of its own work, on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"
    """auto: text on a terminal, JSON lines elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All sections."""

    data: DataSettings = field(default_factory=DataSettings)
    topics: TopicsSettings = field(default_factory=TopicsSettings)
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    seen: SeenSettings = field(default_factory=SeenSettings)
    poller: PollerSettings = field(default_factory=PollerSettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    taxonomy: TaxonomySettings = field(default_factory=TaxonomySettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    log: LogSettings = field(default_factory=LogSettings)

    @property
    def embedded(self) -> bool:
        """Tell whether the log is the embedded one."""
        return not self.kafka.bootstrap

    def group(self) -> str:
        """Return the consumer group of the workers, with its prefix."""
        return self.kafka.group_prefix + self.worker.group

    def identity(self, host: str, index: int) -> str:
        """Return the transactional id and static member id of worker process *index* on *host*."""
        return f"{self.kafka.transactional_id_prefix}{self.worker.group}-{host}-{index}"


_SEEN_URL = re.compile(r"(?:rediss?://[^/\s]+(?:/\d+)?/?|unix://\S+)")
_SHARD = re.compile(r"(auto|\d{1,4})/([1-9]\d{0,3})")
_WEB_URL = re.compile(r"https?://[^/\s@]+(?:/\S*)?")
_BOOTSTRAP = re.compile(r"(?:[^\s,:/@]+|\[[0-9A-Fa-f:]+\]):\d{1,5}(?:,(?:[^\s,:/@]+|\[[0-9A-Fa-f:]+\]):\d{1,5})*")


def contradictions(settings: Settings) -> Iterator[tuple[Where, str]]:
    """Yield, with the setting to blame, what each value alone does not show."""
    yield from _kafka_contradictions(settings.kafka)
    url = settings.seen.url
    if "@" in url and not url.startswith("unix:"):
        yield ("seen", "url"), "credentials do not belong in the address; use passwordFile"
    elif url and not _SEEN_URL.fullmatch(url):
        yield ("seen", "url"), "Expected redis://host:port/db, rediss://host:port/db or unix:///path"
    shard = settings.poller.shard
    told = _SHARD.fullmatch(shard)
    if shard and not (told and (told[1] == "auto" or int(told[1]) < int(told[2]))):
        yield ("poller", "shard"), f"Expected index/count like 0/3, 1/3 and 2/3, or auto/3, got {shard!r}"
    if settings.poller.feeds is not None and settings.poller.feeds_url:
        yield ("poller", "feeds_url"), "either feeds or feedsUrl"
    if settings.taxonomy.dir is not None and settings.taxonomy.url:
        yield ("taxonomy", "url"), "either dir or url"
    addresses = {("poller", "feeds_url"): settings.poller.feeds_url, ("taxonomy", "url"): settings.taxonomy.url}
    for where, address in addresses.items():
        if address and not _WEB_URL.fullmatch(address):
            yield where, "Expected http://host/path or https://host/path, without credentials"
    if settings.worker.grace <= 5:
        yield ("worker", "grace"), "must be more than 5s: the process ends itself 5s before"


def _kafka_contradictions(kafka: KafkaSettings) -> Iterator[tuple[Where, str]]:
    if kafka.bootstrap and not _BOOTSTRAP.fullmatch(kafka.bootstrap):
        yield ("kafka", "bootstrap"), "Expected host:port, several separated by commas"
    if kafka.security_protocol.startswith("SASL"):
        for name in ("user", "password_file"):
            if getattr(kafka, name) is None:
                yield ("kafka", name), f"needed with securityProtocol {kafka.security_protocol}"
    readable = kafka.security_protocol == "SASL_PLAINTEXT" and kafka.sasl_mechanism == "PLAIN"
    if readable and not kafka.insecure_plaintext:
        reason = "with PLAIN sends the password readable; use SASL_SSL or SCRAM, or set insecurePlaintext"
        yield ("kafka", "security_protocol"), f"SASL_PLAINTEXT {reason}"
    if (kafka.cert_file is None) != (kafka.key_file is None):
        missing = "key_file" if kafka.key_file is None else "cert_file"
        yield ("kafka", missing), "certFile and keyFile are needed together"
    if kafka.session_timeout < 6:
        yield ("kafka", "session_timeout"), "brokers refuse less than 6s"
