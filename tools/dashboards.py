#!/usr/bin/env python3
"""
Write the Grafana dashboards of deploy/grafana/dashboards; `make chart` runs it, then copies them into the chart.

    .venv/bin/python tools/dashboards.py            write what has changed, and name it
    .venv/bin/python tools/dashboards.py --check    write nothing; exit 1 when a file is not as it would be written

The dashboards are told in deploy/grafana/dashboards.yaml; here stands how that looks in Grafana's JSON.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "deploy/grafana/dashboards.yaml"
DASHBOARDS = ROOT / "deploy/grafana/dashboards"
SELECTED = 'namespace=~"$namespace", job=~"$job"'
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
SHOWN: Mapping[str, dict[str, Any]] = {
    "stat": {"graphMode": "none", "colorMode": "value"},
    "bargauge": {"orientation": "horizontal", "displayMode": "basic"},
}


def variable(name: str, label: str) -> dict[str, Any]:
    """Return a variable over the values of a label; All also takes series that lack the label."""
    query = f"label_values(dateline_build_info, {name})"
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def variables() -> list[dict[str, Any]]:
    runbooks = "docs/operations.md"
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        variable("namespace", "Namespace"),
        variable("job", "Job"),
        {
            "name": "runbooks",
            "label": "Address of docs/operations.md",
            "type": "textbox",
            "query": runbooks,
            "current": {"text": runbooks, "value": runbooks},
        },
    ]


def drawn(panel: Mapping[str, Any], place: Mapping[str, int]) -> dict[str, Any]:
    """Return *panel* as Grafana has it; its id is made of its title, so that links to it outlive what moves it."""
    kind = panel.get("kind", "timeseries")
    defaults: dict[str, Any] = {
        "unit": panel.get("unit", "short"),
        "thresholds": {"mode": "absolute", "steps": steps(panel)},
    }
    made: dict[str, Any] = {
        "id": zlib.crc32(panel["title"].encode()) % 1_000_000 + 1,
        "title": panel["title"],
        "description": panel["text"],
        "type": kind,
        "datasource": DATASOURCE,
        "gridPos": place,
        "links": [],
        "targets": [target(query, kind, at) for at, query in enumerate(panel["queries"])],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {},
    }
    if runbook := panel.get("runbook"):
        url = f"${{runbooks}}#{runbook.lower()}"
        made["links"] = [{"title": f"What to do: {runbook}", "url": url, "targetBlank": True}]
    if kind == "timeseries":
        stacked = panel.get("stacked", False)
        defaults["min"] = 0
        defaults["custom"] = {
            "fillOpacity": 30 if stacked else 0,
            "showPoints": "never",
            "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        }
        made["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    elif kind == "table":
        made["transformations"] = transformations(panel["columns"])
        made["fieldConfig"]["overrides"] = [
            {
                "matcher": {"id": "byName", "options": column["title"]},
                "properties": [{"id": "unit", "value": column["unit"]}],
            }
            for column in panel["columns"]
        ]
    else:
        made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}} | SHOWN[kind]
    return made


def steps(panel: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return from which values on the panel shows which colour."""
    if "badBelow" in panel:
        return [{"color": "red", "value": None}, {"color": "green", "value": panel["badBelow"]}]
    good = [{"color": "green", "value": None}]
    return [*good, {"color": "red", "value": panel["badAbove"]}] if "badAbove" in panel else good


def target(query: Mapping[str, str], kind: str, at: int) -> dict[str, Any]:
    instant = kind != "timeseries"
    return {
        "refId": chr(ord("A") + at),
        "datasource": DATASOURCE,
        "expr": query["expr"].replace("$sel", SELECTED),
        "legendFormat": query.get("legend", ""),
        "instant": instant,
        "range": not instant,
        "format": "table" if kind == "table" else "time_series",
    }


def transformations(columns: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return how the queries of a table become its columns, one row for each set of labels."""
    names = [column["field"] for column in columns]
    return [
        {"id": "merge", "options": {}},
        {"id": "filterFieldsByName", "options": {"include": {"names": names}}},
        {
            "id": "organize",
            "options": {
                "indexByName": {name: at for at, name in enumerate(names)},
                "renameByName": {column["field"]: column["title"] for column in columns},
            },
        },
    ]


def board(name: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return a dashboard."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row in told["rows"]:
        height, width = row["height"], WIDTH // len(row["panels"])
        for at, panel in enumerate(row["panels"]):
            place = {"x": at * width, "y": top, "w": width, "h": height}
            panels.append(drawn(panel, place))
        top += height
    others = {"title": "Dateline", "type": "dashboards", "tags": ["dateline"], "icon": "external link", "tooltip": ""}
    return {
        "uid": f"dateline-{name}",
        "title": told["title"],
        "description": told["text"],
        "tags": ["dateline"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "links": [others | {"asDropdown": True, "keepTime": True, "includeVars": True, "targetBlank": False}],
        "templating": {"list": variables()},
        "annotations": {"list": []},
        "panels": panels,
    }


def files() -> Iterator[tuple[Path, str]]:
    """Yield each file that is made here, and what it is to hold."""
    for name, told in yaml.safe_load(SOURCE.read_text("utf-8")).items():
        text = json.dumps(board(name, told), indent=1, ensure_ascii=False) + "\n"
        yield DASHBOARDS / f"{name}.json", text


def main(arguments: Sequence[str]) -> int:
    stale = [(path, text) for path, text in files() if not path.is_file() or path.read_text("utf-8") != text]
    for path, text in stale:
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        print(path.relative_to(ROOT))  # noqa: T201  (what it is for)
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
