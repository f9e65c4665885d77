"""The AsyncAPI document is valid, fresh, and says of each record what really is written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from worker.schema import schemas

ROOT = Path(__file__).parent.parent
CHECKED_IN = ROOT / "deploy/asyncapi.yaml"
OFFICIAL = json.loads((ROOT / "tests/vendored/asyncapi-3.0.0.json").read_text("utf-8"))
RECORDS = ("raw", "enriched", "unrouted", "duplicates", "dead-letter", "feed-state")


def printed(*arguments: str, environ: dict[str, str] | None = None) -> str:
    """Return what `dateline schema --asyncapi` prints."""
    command = [sys.executable, "-m", "worker", "schema", "--asyncapi", *arguments]
    path = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    shown = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**path, **(environ or {})}, check=False
    )
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


def checked(text: str) -> dict[str, Any]:
    """Return the document in *text* after AsyncAPI's own schema took it."""
    document: dict[str, Any] = yaml.safe_load(text)
    errors = jsonschema.Draft7Validator(OFFICIAL).iter_errors(document)
    assert [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}" for error in errors] == []
    return document


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return checked(CHECKED_IN.read_text("utf-8"))


def referred(document: dict[str, Any], reference: str) -> Any:
    """Return what *reference* leads to inside the document."""
    assert reference.startswith("#/")
    part: Any = document
    for step in reference[2:].split("/"):
        part = part[step]
    return part


def references(part: Any) -> list[str]:
    if isinstance(part, list):
        return [found for each in part for found in references(each)]
    if not isinstance(part, dict):
        return []
    own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
    return own + [found for each in part.values() for found in references(each)]


def test_the_checked_in_document_is_what_the_command_prints() -> None:
    """`dateline schema --asyncapi > deploy/asyncapi.yaml` makes it anew."""
    assert printed() == CHECKED_IN.read_text("utf-8")


def test_every_reference_leads_somewhere_in_the_document(document: dict[str, Any]) -> None:
    """So that no tool has to fetch anything."""
    found = references(document)
    assert len(found) > 50
    for reference in found:
        referred(document, reference)


@pytest.mark.parametrize("name", RECORDS)
def test_every_example_is_what_its_schemas_say(document: dict[str, Any], name: str) -> None:
    message = document["components"]["messages"][name]
    (example,) = message["examples"]
    for part, schema in (("headers", message["headers"]), ("payload", message["payload"])):
        whole = {**schema, "components": document["components"]}
        jsonschema.Draft7Validator(whole).validate(example[part])
    if name != "dead-letter":
        jsonschema.Draft202012Validator(schemas()[name]).validate(example["payload"])


@pytest.mark.parametrize(
    ("name", "field", "wrong"),
    [
        ("raw", "fetchedAt", 5),
        ("enriched", "dateline", {}),
        ("enriched", "headlines", "text"),
        ("unrouted", "story", 1),
    ],
)
def test_the_schemas_of_the_document_refuse_what_is_wrong(
    document: dict[str, Any], name: str, field: str, wrong: object
) -> None:
    """References that lead to nothing of weight would let everything pass."""
    message = document["components"]["messages"][name]
    changed = {**message["examples"][0]["payload"], field: wrong}
    validator = jsonschema.Draft7Validator({**message["payload"], "components": document["components"]})
    assert {error.absolute_path[0] for error in validator.iter_errors(changed)} == {field}


def test_the_evidence_of_the_example_counts_code_points_behind_an_emoji_and_a_rare_han_character(
    document: dict[str, Any],
) -> None:
    payload = document["components"]["messages"]["enriched"]["examples"][0]["payload"]
    title = payload["headlines"][0]["value"]
    late = [item for item in payload["dateline"]["evidence"] if item["field"] == "title"]
    assert late
    assert len(title.encode("utf-16-le")) // 2 > len(title)
    assert [title[item["start"] : item["end"]] for item in late] == [item["text"] for item in late]


def test_routes_of_a_users_own_and_the_prefix_stand_in_the_document(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_text(
        "routes:\n"
        "  - {name: labour-abroad, when: {pair: CN-KP}}\n"
        "  - {name: asia, topic: desks.asia, when: {region: CN}}\n"
        "  - {name: japan, topic: desks.asia, when: {region: JP}}\n",
        "utf-8",
    )
    environ = {
        "DATELINE_TOPICS_PREFIX": "acme.",
        "DATELINE_TOPICS_PARTITIONS": "6",
        "DATELINE_TOPICS_RAW_RETENTION": "2d",
        "DATELINE_TAXONOMY_DIR": str(tmp_path),
    }
    made = checked(printed(environ=environ))

    channels = made["channels"]
    assert {name: channel["address"] for name, channel in channels.items()} == {
        name: f"acme.{name}"
        for name in (
            *("raw", "duplicates", "dead-letter", "feed-state", "enriched", "china-dprk", "sanctions"),
            *("labour-abroad", "desks.asia"),
        )
    }
    assert channels["desks.asia"]["description"] == "Stories of the routes asia, japan."
    kafka = channels["raw"]["bindings"]["kafka"]
    assert kafka["partitions"] == 6
    assert kafka["topicConfiguration"]["retention.ms"] == 2 * 86_400_000
    assert channels["labour-abroad"]["bindings"]["kafka"]["topicConfiguration"]["cleanup.policy"] == ["compact"]
    example = made["components"]["messages"]["enriched"]["examples"][0]
    assert example["headers"]["raw"].startswith("acme.raw/")


def test_only_the_feed_state_is_internal_and_only_routes_are_told_that_a_story_left(document: dict[str, Any]) -> None:
    channels = document["channels"]
    assert [name for name, channel in channels.items() if channel.get("x-internal")] == ["feed-state"]
    routes = [name for name, channel in channels.items() if "unrouted" in channel["messages"]]
    assert routes == ["china-dprk", "sanctions"]


def test_configured_brokers_stand_in_the_document_without_a_secret(tmp_path: Path) -> None:
    assert "servers" not in yaml.safe_load(CHECKED_IN.read_text("utf-8"))
    password = tmp_path / "password"
    password.write_text("hunter2-of-the-test", "utf-8")
    environ = {
        "DATELINE_KAFKA_BOOTSTRAP": "one.example:9093,two.example:9093",
        "DATELINE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "DATELINE_KAFKA_USER": "somebody-of-ours",
        "DATELINE_KAFKA_PASSWORD_FILE": str(password),
    }
    text = printed(environ=environ)

    made = checked(text)
    assert [server["host"] for server in made["servers"].values()] == ["one.example:9093", "two.example:9093"]
    assert {server["protocol"] for server in made["servers"].values()} == {"kafka-secure"}
    assert referred(made, made["servers"]["broker-1"]["security"][0]["$ref"]) == {"type": "scramSha512"}
    assert "hunter2" not in text
    assert "somebody-of-ours" not in text


def test_every_header_that_the_document_names_stands_on_the_page_about_records(document: dict[str, Any]) -> None:
    page = (ROOT / "docs/records.md").read_text("utf-8")
    named = {name for each in document["components"]["messages"].values() for name in each["headers"]["properties"]}
    assert {name for name in named if f"`{name}`" not in page} == set()
