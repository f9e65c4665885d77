"""Settings come from one file and the environment; all that is wrong is told at once, with its place."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from worker.edges.settings_file import HINTS, data_dir, file_name, load, read_secret, variable
from worker.edges.yaml_file import FileFaults
from worker.ports import WrongSettings
from worker.settings import Duration, KafkaSettings, SeenSettings, Settings
from worker.stores import check_stores, kafka, topic_specs


def write(folder: Path, text: str, name: str = "dateline.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def faults_of(path: Path | None, **environ: str) -> list[str]:
    with pytest.raises(FileFaults) as caught:
        load(path, environ=environ)
    return [str(fault) for fault in caught.value.faults]


def test_without_a_file_and_environment_the_defaults_count() -> None:
    loaded = load(None, environ={"PATH": "/bin"})
    assert loaded.settings == Settings()
    assert {origin.kind for origin in loaded.origins.values()} == {"default"}


def test_the_environment_wins_over_the_file_and_a_flag_over_both(tmp_path: Path) -> None:
    path = write(tmp_path, "worker: {workers: 2, batchMax: 100}\nlog: {level: debug}\n")
    loaded = load(
        path,
        environ={"DATELINE_WORKER_WORKERS": "3", "DATELINE_LOG_LEVEL": "error"},
        flags={("worker", "workers"): ("--workers", 4)},
    )
    assert (loaded.settings.worker.workers, loaded.settings.worker.batch_max) == (4, 100)
    assert loaded.settings.log.level == "error"
    assert str(loaded.origins["worker", "workers"]) == "--workers"
    assert str(loaded.origins["worker", "batch_max"]) == f"{path}:1"
    assert str(loaded.origins["log", "level"]) == "DATELINE_LOG_LEVEL"


def test_every_setting_can_be_set_by_a_variable_of_its_own() -> None:
    names = [variable(where) for where in HINTS]
    assert len(set(names)) == len(names)
    assert variable(("kafka", "password_file")) == "DATELINE_KAFKA_PASSWORD_FILE"


def test_every_fault_is_told_at_once_with_file_and_line_or_variable(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "kafka:\n  bootstrap: broker:9092\n  oops: 1\ntopics:\n  partitions: many\nseen:\n  ttl: soon\npoller: 5\n",
    )
    told = faults_of(path, DATELINE_WORKER_WORKERS="0", DATELINE_KAFKA_BOOTSTRP="x", DATELINE_POLLER_PORTS="80,http")
    assert [fault.split(": ")[0] for fault in told] == [
        f"{path}:3",
        f"{path}:5",
        f"{path}:7",
        f"{path}:8",
        "DATELINE_KAFKA_BOOTSTRP",
        "DATELINE_POLLER_PORTS",
        "DATELINE_WORKER_WORKERS",
    ]
    assert "did you mean DATELINE_KAFKA_BOOTSTRAP" in told[4]


def test_variables_of_tests_and_tools_are_no_settings() -> None:
    environ = {
        "DATELINE_TEST_KAFKA": "x",
        "DATELINE_EVAL_DIR": "/x",
        "DATELINE_KUBE_RUN": "x",
        "DATELINE_KAFKA_PORT": "1",
    }
    assert load(None, environ=environ).settings == Settings()


def test_an_empty_variable_counts_as_unset() -> None:
    assert load(None, environ={"DATELINE_HTTP_PORT": "", "DATELINE_SEEN_URL": ""}).settings == Settings()


def test_a_path_in_the_file_is_relative_to_the_file(tmp_path: Path) -> None:
    write(tmp_path, "sesame\n", "secret")
    path = write(tmp_path, "kafka:\n  securityProtocol: SASL_SSL\n  user: me\n  passwordFile: secret\n")
    settings = load(path, environ={}).settings
    assert settings.kafka.password_file == tmp_path / "secret"
    assert read_secret(settings.kafka.password_file) == "sesame"


def test_a_secret_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    path = write(tmp_path, "seen:\n  passwordFile: nowhere\n")
    assert faults_of(path) == [f"{path}:2: seen.passwordFile: {tmp_path / 'nowhere'} does not exist"]


def test_credentials_in_the_address_of_the_seen_store_are_refused_and_not_repeated() -> None:
    told = faults_of(None, DATELINE_SEEN_URL="redis://me:sesame@store:6379/0")
    assert len(told) == 1
    assert "passwordFile" in told[0]
    assert "sesame" not in told[0]


@pytest.mark.parametrize(
    ("environ", "blamed"),
    [
        ({"DATELINE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "kafka.user"),
        ({"DATELINE_KAFKA_CERT_FILE": "/dev/null"}, "keyFile"),
        ({"DATELINE_KAFKA_SESSION_TIMEOUT": "2s"}, "less than 6s"),
        ({"DATELINE_KAFKA_BOOTSTRAP": "broker"}, "host:port"),
        ({"DATELINE_SEEN_URL": "http://store"}, "redis://"),
        ({"DATELINE_WORKER_GRACE": "4s"}, "more than 5s"),
        ({"DATELINE_POLLER_SHARD": "3/3"}, "0/3, 1/3 and 2/3"),
        ({"DATELINE_POLLER_SHARD": "0/0"}, "like 0/3"),
        ({"DATELINE_POLLER_SHARD": "-1/3"}, "like 0/3"),
        ({"DATELINE_POLLER_SHARD": "auto"}, "auto/3"),
        ({"DATELINE_TOPICS_PREFIX": "news/"}, "DATELINE_TOPICS_PREFIX"),
    ],
)
def test_values_that_contradict_each_other_are_refused(environ: dict[str, str], blamed: str) -> None:
    assert blamed in " ".join(faults_of(None, **environ))


def test_a_readable_password_on_the_network_needs_an_explicit_word(tmp_path: Path) -> None:
    environ = {
        "DATELINE_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "DATELINE_KAFKA_SASL_MECHANISM": "PLAIN",
        "DATELINE_KAFKA_USER": "me",
        "DATELINE_KAFKA_PASSWORD_FILE": str(write(tmp_path, "sesame", "secret")),
    }
    assert len(faults_of(None, **environ)) == 1
    assert load(None, environ=environ | {"DATELINE_KAFKA_INSECURE_PLAINTEXT": "true"}).settings.kafka.insecure_plaintext


@pytest.mark.parametrize(
    ("text", "seconds", "again"),
    [
        ("90s", 90, "90s"),
        ("5m", 300, "5m"),
        ("2h", 7200, "2h"),
        ("2w", 1_209_600, "14d"),
        (1.5, 1.5, "1.5s"),
        ("250ms", 0.25, "0.25s"),
    ],
)
def test_a_duration_reads_as_people_write_it(text: object, seconds: float, again: str) -> None:
    duration = Duration.parse(text)
    assert duration == pytest.approx(seconds)
    assert str(duration) == again
    assert Duration.parse(str(duration)) == duration


@pytest.mark.parametrize("text", ["", "5 minutes", "-3s", "0", 0, True, None, "1e99d"])
def test_what_is_no_duration_above_zero_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="duration above zero"):
        Duration.parse(text)


def test_the_data_folder_follows_the_xdg_rule() -> None:
    assert data_dir(Settings(), {"XDG_DATA_HOME": "/var/data"}) == Path("/var/data/dateline")
    assert data_dir(Settings(), {"XDG_DATA_HOME": "relative"}) == Path("~/.local/share/dateline").expanduser()


def test_how_a_group_shares_its_partitions_reaches_the_client() -> None:
    environ = {"DATELINE_KAFKA_BOOTSTRAP": "broker:9092"}
    usual = kafka(load(None, environ=environ).settings)
    assert (usual.assignor, usual.leave_on_close) == ("range", True)
    environ |= {"DATELINE_KAFKA_ASSIGNOR": "cooperative-sticky", "DATELINE_KAFKA_LEAVE_ON_CLOSE": "false"}
    given = kafka(load(None, environ=environ).settings)
    assert (given.assignor, given.leave_on_close) == ("cooperative-sticky", False)


def test_sqlite_beside_kafka_is_refused_unless_all_workers_are_of_this_machine() -> None:
    settings = Settings(kafka=KafkaSettings(bootstrap="broker:9092"))
    with pytest.raises(WrongSettings, match=r"seen\.url"):
        check_stores(settings, one_machine=False)
    check_stores(settings, one_machine=True)
    check_stores(replace(settings, seen=SeenSettings(single_machine=True)), one_machine=False)
    check_stores(replace(settings, seen=SeenSettings(url="redis://store:6379")), one_machine=False)
    check_stores(Settings(), one_machine=False)


def test_compacted_topics_keep_every_version_at_least_as_long_as_raw_is_kept() -> None:
    settings = Settings()
    specs = {spec.name: spec for spec in topic_specs(settings, ["china-dprk"])}
    assert set(specs) == {f"news.{name}" for name in (
        "raw", "duplicates", "dead-letter", "feed-state", "enriched", "china-dprk")}  # fmt: skip
    for name in ("news.enriched", "news.china-dprk"):
        assert specs[name].compacted
        assert specs[name].min_compaction_lag_ms >= settings.topics.raw_retention.ms
    assert specs["news.raw"].retention_ms == settings.topics.raw_retention.ms


def test_names_in_the_file_are_camel_case_and_unique_in_their_section() -> None:
    for kind in (KafkaSettings, SeenSettings):
        names = [file_name(item.name) for item in fields(kind)]
        assert len(set(names)) == len(names)
        assert not any("_" in name for name in names)
