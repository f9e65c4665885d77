"""The log, its topics and the seen store that the settings ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from worker.edges import kafka_settings
from worker.edges.data_folder import LOG_FILE, SEEN_FILE, ready
from worker.edges.kafka_log import KafkaLog
from worker.edges.settings_file import data_dir, read_secret
from worker.edges.sqlite_log import SqliteLog
from worker.edges.sqlite_seen import SqliteSeen
from worker.edges.valkey_seen import ValkeySeen
from worker.enriching import TopicNames
from worker.ports import Log, SeenStore, TopicSpec, WrongSettings
from worker.settings import Settings


def topic_specs(settings: Settings, routes: Iterable[str], *, prefix: str | None = None) -> list[TopicSpec]:
    """Return how each topic is to be made; *prefix* replaces that of the settings."""
    shape = settings.topics
    names = TopicNames(prefix=shape.prefix if prefix is None else prefix)
    passing = {
        names.raw: shape.raw_retention,
        names.duplicates: shape.duplicates_retention,
        names.dead_letter: shape.dead_letter_retention,
    }
    # A reader who comes back within raw's retention still sees every version of a story.
    lasting = {names.feed_state: 0, names.enriched: shape.raw_retention.ms}
    lasting |= {names.route(route): shape.raw_retention.ms for route in routes}
    return [
        *(
            TopicSpec(name=name, partitions=shape.partitions, retention_ms=retention.ms)
            for name, retention in passing.items()
        ),
        *(
            TopicSpec(name=name, partitions=shape.partitions, compacted=True, min_compaction_lag_ms=lag)
            for name, lag in lasting.items()
        ),
    ]


def kafka(settings: Settings) -> kafka_settings.KafkaSettings:
    """Return what the Kafka clients need; secrets are read now. Raises: WrongSettings."""
    given = settings.kafka
    try:
        password = read_secret(given.password_file)
    except (OSError, UnicodeDecodeError) as error:
        raise WrongSettings(f"kafka.passwordFile cannot be read: {error}") from error
    return kafka_settings.KafkaSettings(
        bootstrap=given.bootstrap,
        security_protocol=given.security_protocol,
        sasl_mechanism=given.sasl_mechanism,
        sasl_username=given.user,
        sasl_password=password,
        ssl_cafile=given.ca_file,
        ssl_certfile=given.cert_file,
        ssl_keyfile=given.key_file,
        session_timeout_ms=given.session_timeout.ms,
        assignor=given.assignor,
        leave_on_close=given.leave_on_close,
        replication_factor=settings.topics.replicas or -1,
        min_insync_replicas=settings.topics.min_insync_replicas,
    )


def _nothing() -> None:
    """Nobody listens."""


def open_log(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    beat: Callable[[], None] = _nothing,
    reset: Callable[[], None] = _nothing,
) -> Log:
    """
    Return the log; *beat* is called around its waits, *reset* when an offset to go on from is not there.

    Raises: LogError.
    """
    if not settings.embedded:
        return KafkaLog.open(kafka(settings), beat=beat, reset=reset)
    return SqliteLog.open(ready(data_dir(settings, environ)) / LOG_FILE)


def check_stores(settings: Settings, *, one_machine: bool) -> None:
    """
    Refuse a seen store that other machines' workers could not see.

    *one_machine*: the command itself starts all workers. Raises: WrongSettings.
    """
    if settings.embedded or settings.seen.url or settings.seen.single_machine or one_machine:
        return
    raise WrongSettings(
        "the seen store is SQLite, a file of this machine, but the log is Kafka, where workers of other machines may"
        " join: they would send stories twice. Set seen.url to a Valkey or Redis server, or seen.singleMachine if all"
        " workers of the group run here"
    )


def open_seen(settings: Settings, environ: Mapping[str, str], *, namespace: str | None = None) -> SeenStore:
    """Return the seen store; *namespace* replaces that of the settings. Raises: WrongSettings, LogUnavailable."""
    given = settings.seen
    space = namespace or given.namespace
    if not given.url:
        path = ready(data_dir(settings, environ)) / SEEN_FILE
        return SqliteSeen(path, namespace=space, ttl_s=int(given.ttl))
    try:
        return ValkeySeen(
            given.url,
            namespace=space,
            ttl_s=int(given.ttl),
            password=read_secret(given.password_file),
            ca_file=str(given.ca_file) if given.ca_file else None,
        )
    except (OSError, ValueError) as error:
        raise WrongSettings(f"seen store: {error}") from error


def ensure_topics(log: Log, specs: Iterable[TopicSpec], *, create: bool) -> None:
    """Create what is missing, or say what is. Raises: WrongSettings: topics are missing and *create* is false."""
    wanted = list(specs)
    if create:
        log.create_topics(wanted)
        return
    there = log.topics()
    missing = sorted(spec.name for spec in wanted if spec.name not in there)
    if missing:
        raise WrongSettings(
            f"missing topics: {', '.join(missing)}; `dateline topics apply` creates them. With access rights in force:"
            " a broker hides the topics that we have no right to describe"
        )
