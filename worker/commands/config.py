"""`dateline config check`: the effective settings and where each comes from."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from worker.edges.logging_setup import redact
from worker.edges.process import ExitCode
from worker.edges.settings_file import HINTS, Loaded, data_dir, file_name
from worker.options import add_common
from worker.ports import WrongSettings
from worker.settings import Duration, Where
from worker.stores import check_stores
from worker.wiring import setup

EXAMPLES = """\
  dateline config check                               what counts, as YAML, each with its origin
  dateline config check --config prod.yaml --json
Of a secret only the name of its file is shown.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    check = actions.add_parser("check", help="tell all that is wrong, or show what counts")
    check.add_argument("--json", action="store_true", help="one JSON object instead of YAML")
    add_common(check)


def run(args: argparse.Namespace) -> int:
    with setup(args) as context:
        shown = {where: _plain(getattr(getattr(context.settings, where[0]), where[1])) for where in HINTS}
        shown["data", "dir"] = str(data_dir(context.settings, context.environ))
        loaded = Loaded(settings=context.settings, origins=context.origins)
        warning = None
        try:
            check_stores(context.settings, one_machine=False)
        except WrongSettings as error:
            warning = str(error)
    print(_as_json(shown, loaded, warning) if args.json else _as_yaml(shown, loaded, warning))
    return ExitCode.OK


def _plain(value: object) -> object:
    if isinstance(value, Duration | Path):
        return redact(str(value))
    if isinstance(value, tuple):
        return list(value)
    return redact(value) if isinstance(value, str) else value


def _as_json(shown: dict[Where, object], loaded: Loaded, warning: str | None) -> str:
    sections: dict[str, dict[str, object]] = {}
    for (section, name), value in shown.items():
        origin = loaded.origins[section, name]
        sections.setdefault(section, {})[file_name(name)] = {"value": value, "origin": str(origin), "by": origin.kind}
    return json.dumps({"settings": sections, "warnings": [warning] if warning else []}, indent=2, ensure_ascii=False)


def _as_yaml(shown: dict[Where, object], loaded: Loaded, warning: str | None) -> str:
    """Write one line a setting; JSON scalars and lists are YAML too."""
    lines, last = [], ""
    for (section, name), value in shown.items():
        if section != last:
            lines.append(f"{section}:")
            last = section
        text = f"  {file_name(name)}: {json.dumps(value, ensure_ascii=False)}"
        lines.append(f"{text:<56} # {loaded.origins[section, name]}")
    if warning:
        lines.append(f"# warning: {warning}")
    return "\n".join(lines)
