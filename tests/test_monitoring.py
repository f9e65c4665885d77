"""Alert rules and dashboards name what is there, fire when they should, and lead to a section that says what to do."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from worker.cli import parser_for
from worker.metrics import Metrics
from worker.settings import Settings
from worker.wire import REASONS

ROOT = Path(__file__).parent.parent
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
CASES = sorted((ROOT / "tests" / "prometheus").glob("*.yaml"))
OPERATIONS = ROOT / "docs" / "operations.md"
METRIC = re.compile(r"\b(?:dateline|process)_[a-z_]+\b")
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "info": ("_info",),
    "histogram": ("_bucket", "_count", "_sum"),
}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, list[dict[str, Any]]]:
    """Return by alert its rules."""
    found: dict[str, list[dict[str, Any]]] = {}
    for rule in rules():
        if "alert" in rule:
            found.setdefault(rule["alert"], []).append(rule)
    return found


def panels(path: Path) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["panels"]
    return made


def expressions() -> Iterator[tuple[str, str]]:
    """Yield where it stands, and each expression of a rule or panel."""
    for rule in rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for path in DASHBOARDS:
        for panel in panels(path):
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"]


def exported() -> set[str]:
    """Return the names of all series of worker/metrics.py."""
    metrics = Metrics(CollectorRegistry(), reasons=REASONS, regions=["KP"], topics=["sanctions"], feeds=["a"])
    families = list(metrics.registry.collect())
    return {family.name + suffix for family in families for suffix in SUFFIXES[family.type]}


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub and others make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_metric_that_a_rule_or_panel_names_exists() -> None:
    there = exported()
    assert {"dateline_records_total", "dateline_stage_seconds_bucket", "dateline_taxonomy_info"} <= there
    missing = {(where, name) for where, expr in expressions() for name in METRIC.findall(expr) if name not in there}
    assert missing == set()


def test_every_metric_of_ours_is_on_a_panel_or_in_a_rule() -> None:
    """What nobody can see need not be counted."""
    named = {name for _, expr in expressions() for name in METRIC.findall(expr)}
    ours = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exported() if name.startswith("dateline_")}
    seen = {re.sub(r"_(bucket|count|sum)$", "", name) for name in named}
    assert ours - seen == set()


def test_every_recorded_series_that_a_rule_asks_for_is_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = {name for _, expr in expressions() for name in re.findall(r"\bdateline:[\w:]+", expr)}
    assert asked == recorded


def test_every_alert_says_how_bad_it_is_and_where_to_read_on() -> None:
    for name, variants in alerts().items():
        assert re.fullmatch(r"Dateline[A-Z][A-Za-z]+", name)
        for rule in variants:
            assert rule["labels"]["severity"] in {"critical", "warning", "info"}, name
            assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}, name
            assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{name.lower()}"
            assert not rule["annotations"]["summary"].endswith(".")
            assert rule["annotations"]["description"].endswith(".")


def test_every_alert_has_a_section_of_its_own_and_no_section_is_left_over() -> None:
    sections = {anchor for anchor in anchors(OPERATIONS) if anchor.startswith("dateline")}
    assert sections == {name.lower() for name in alerts()}


def test_the_sections_of_the_alerts_give_only_commands_that_dateline_takes() -> None:
    text = OPERATIONS.read_text("utf-8")
    given = re.findall(r"`dateline ([^`]+)`", text[text.index("## Alerts") :])
    assert len(given) >= 8
    for command in given:
        words = shlex.split(command)
        if words != ["explain"]:  # of a story that the reader has to name
            parser_for(words).parse_args(words)


def test_the_limits_that_rules_halve_are_the_defaults() -> None:
    limits = Settings().worker
    expr = alerts()["DatelineDeadLetterLimitNear"][0]["expr"]
    run, share = (float(limit) for limit in re.findall(r"> ([\d.]+)", expr))
    assert (run, share) == (limits.dead_letter_run / 2, limits.dead_letter_share / 2)


def test_every_alert_is_tested_to_fire_and_not_to_fire() -> None:
    fired, quiet = set(), 0
    for path in CASES:
        for case in yaml.safe_load(path.read_text("utf-8"))["tests"]:
            for evaluation in case["promql_expr_test"]:
                samples = evaluation["exp_samples"]
                quiet += not samples
                fired |= {name for sample in samples for name in re.findall(r'alertname="(\w+)"', sample["labels"])}
    assert fired == set(alerts())
    assert quiet >= len(fired)


@pytest.mark.promtool
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_promtool_sees_alerts_fire_and_stay_quiet(path: Path, promtool: Path) -> None:
    ran = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.promtool
def test_promtool_finds_nothing_wrong_with_rules_and_configuration(promtool: Path) -> None:
    configuration = RULES.with_name("prometheus.yml")
    for command in (["check", "rules", "--lint-fatal", str(RULES)], ["check", "config", str(configuration)]):
        ran = subprocess.run([promtool, *command], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_dashboards_are_as_the_tool_writes_them() -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "tools" / "dashboards.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", ""), "run make chart"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_works_in_any_grafana(path: Path) -> None:
    board = json.loads(path.read_text("utf-8"))
    assert board["uid"] == f"dateline-{path.stem}"
    assert "id" not in board, "a number is the server's to give"
    assert len({each["id"] for each in board["panels"]}) == len(board["panels"])
    known = {each["name"] for each in board["templating"]["list"]}
    assert known == {"datasource", "namespace", "job", "runbooks"}
    for panel in board["panels"]:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert source == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            used = set(re.findall(r"\$\{?([a-z]\w+)", target["expr"]))
            assert used == {"namespace", "job"}, target["expr"]
        for link in panel["links"]:
            assert link["url"].startswith("${runbooks}#")
            assert link["url"].partition("#")[2] in anchors(OPERATIONS), link
    assert overlaps(board["panels"]) == []


def overlaps(drawn: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return panels that lie on each other, or beyond the edge."""

    def cells(place: Mapping[str, int]) -> set[tuple[int, int]]:
        return {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }

    taken: dict[tuple[int, int], str] = {}
    found = []
    for panel in drawn:
        for cell in cells(panel["gridPos"]):
            if cell in taken or cell[0] >= 24:
                found.append((panel["title"], taken.get(cell, "the edge")))
            taken[cell] = panel["title"]
    return found
