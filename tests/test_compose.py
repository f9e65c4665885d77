"""deploy/compose.yaml is valid, and what it sets, mounts and runs is there: seen without a container engine."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support import debian
from worker.cli import parser_for
from worker.edges import settings_file
from worker.edges.settings_file import ENV_PREFIX
from worker.settings import Duration, WorkerSettings
from worker.stores import check_stores

ROOT = Path(__file__).parent.parent
FILE = ROOT / "deploy/compose.yaml"
SCHEMA = json.loads((ROOT / "tests/vendored/compose-spec.json").read_text("utf-8"))
COMPOSE_GO = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2"
OURS = {"poller", "worker-1", "worker-2", "topics"}
"""Services that run our own program."""


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(FILE.read_text("utf-8"))
    return document


def parts(service: dict[str, Any], name: str) -> list[list[str]]:
    """Return the short forms of mounts or ports, at their colons."""
    return [each.split(":") for each in service.get(name, [])]


def test_it_is_what_the_compose_specification_allows(compose: dict[str, Any]) -> None:
    errors = jsonschema.Draft202012Validator(SCHEMA).iter_errors(compose)
    assert [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in errors] == []


def test_the_library_of_docker_compose_reads_it(tmp_path: Path) -> None:
    """It merges, interpolates and looks for contradictions, as `docker compose` does, but needs no engine."""
    if shutil.which("go") is None:
        pytest.skip("need Go: not installed")
    folder = debian.cache().parent / f"compose-go-{COMPOSE_GO.partition('@')[2]}"
    if not (folder / "cmd").exists():
        environ = {**os.environ, "GOBIN": str(folder), "GOFLAGS": "-mod=mod"}
        command = ["go", "install", COMPOSE_GO]
        made = subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=100, check=False
        )
        if made.returncode != 0:
            pytest.skip(f"need compose-go: {made.stderr.strip().splitlines()[-1]}")
    done = subprocess.run(
        [folder / "cmd", "--format", "json", FILE], capture_output=True, text=True, cwd=FILE.parent, check=False
    )
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    assert services["poller"]["build"]["context"] == str(ROOT)
    assert services["worker-2"]["environment"]["DATELINE_KAFKA_BOOTSTRAP"] == "kafka:19092"


def test_the_specification_would_refuse_a_slip(compose: dict[str, Any]) -> None:
    wrong = {**compose, "services": {"kafka": {**compose["services"]["kafka"], "enviroment": {}}}}
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(wrong)


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_services_get_settings_and_a_command_that_we_know(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    settings = settings_file.load(None, environ=service["environment"]).settings
    assert all(variable.startswith(ENV_PREFIX) for variable in service["environment"])
    assert settings.kafka.bootstrap == "kafka:19092"
    assert settings.http.host == "0.0.0.0"
    check_stores(settings, one_machine=False)
    parsed = parser_for(service["command"]).parse_args(service["command"])
    assert isinstance(parsed, argparse.Namespace)
    assert callable(parsed.run)
    assert Duration.parse(service["stop_grace_period"]) == WorkerSettings().grace


def test_every_file_that_it_mounts_or_builds_from_is_there(compose: dict[str, Any]) -> None:
    folders = [
        FILE.parent / source
        for service in compose["services"].values()
        for source, *_ in parts(service, "volumes")
        if source.startswith(".")
    ]
    assert len(folders) == 4
    built = compose["services"]["poller"]["build"]
    wanted = [*folders, FILE.parent / built["context"] / built["dockerfile"], ROOT / "deploy/prometheus/prometheus.yml"]
    assert [str(path.relative_to(ROOT)) for path in map(Path.resolve, wanted) if not path.exists()] == []


def test_named_volumes_and_those_that_are_waited_for_are_declared(compose: dict[str, Any]) -> None:
    services = compose["services"]
    named = {source for service in services.values() for source, *_ in parts(service, "volumes") if source[0] != "."}
    assert named == set(compose["volumes"])
    for service in services.values():
        for other, how in service.get("depends_on", {}).items():
            assert other in services
            assert how["condition"] == "service_completed_successfully" or "healthcheck" in services[other]


def test_nothing_is_published_beyond_this_machine(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in parts(service, "ports")]
    assert len(published) == 3
    assert {host for host, *_ in published} == {"127.0.0.1"}


def test_all_that_lasts_restarts_and_says_whether_it_lives(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["restart"] in {"unless-stopped", "on-failure"}, name
        assert ("healthcheck" in service) is (name != "topics"), name
        assert service["image"].partition(":")[2] not in {"", "latest"}, name


def test_workers_have_lasting_names_of_their_own(compose: dict[str, Any]) -> None:
    """A worker's host name is its transactional id."""
    workers = {name: service for name, service in compose["services"].items() if service.get("command") == ["enrich"]}
    assert len(workers) == 2
    assert all(service["hostname"] == name for name, service in workers.items())
    assert all(service["networks"]["default"]["aliases"] == ["worker"] for service in workers.values())


def test_the_broker_is_the_one_that_we_test_with(compose: dict[str, Any]) -> None:
    version = re.search(r"<kafka\.version>(.+)</kafka\.version>", (ROOT / "deploy/kafka/pom.xml").read_text("utf-8"))
    assert version is not None
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{version[1]}"
    java = (ROOT / "examples/subscribe/pom.xml").read_text("utf-8")
    assert f"<artifactId>kafka-clients</artifactId>\n      <version>{version[1]}</version>" in java


def test_prometheus_asks_the_ports_that_our_services_answer_on(compose: dict[str, Any]) -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text("utf-8"))
    port = int(compose["services"]["poller"]["environment"]["DATELINE_HTTP_PORT"])
    asked = {
        (name, found["port"])
        for job in config["scrape_configs"]
        for found in job.get("dns_sd_configs", [])
        for name in found["names"]
    }
    assert asked == {("poller", port), ("worker", port)}


def test_grafana_finds_prometheus_and_the_dashboards_where_they_are_mounted(compose: dict[str, Any]) -> None:
    folder = ROOT / "deploy/grafana/provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yaml").read_text("utf-8"))["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((folder / "dashboards/dateline.yaml").read_text("utf-8"))["providers"]
    mounted = {target: origin for origin, target, *_ in parts(compose["services"]["grafana"], "volumes")}
    assert mounted[provider["options"]["path"]] == "./grafana/dashboards"
