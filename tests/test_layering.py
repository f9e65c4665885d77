"""Arrows point inward: cli → wiring → edges, loops → stages, ports → records; stages compute and touch nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

WORKER = Path(__file__).parent.parent / "worker"
CALCULATING = {
    "__future__", "ahocorasick_rs", "array", "base64", "binascii", "bisect", "calendar", "can_ada", "collections",
    "dataclasses", "datetime", "email", "enum", "functools", "hashlib", "heapq", "html", "ipaddress",
    "itertools", "lxml", "math", "msgspec", "numpy", "operator", "re", "resiliparse", "statistics", "string",
    "struct", "trafilatura", "types", "typing", "unicodedata", "urllib", "zlib", "zoneinfo",
}  # fmt: skip
"""What a stage may import from outside: libraries that only calculate."""
CLIENTS = {
    "aiohttp",
    "kafka",
    "redis",
    "sqlite3",
    "socket",
    "ssl",
    "requests",
    "http",
    "subprocess",
    "prometheus_client",
}
TELLS_TIME = {"now", "today", "utcnow", "time", "monotonic", "perf_counter", "time_ns"}
TOUCHES = {"open", "print", "input", "exec", "eval", "__import__"}
OUTSIDE_LAYERS = {"worker.edges", "worker.loops", "worker.cli", "worker.commands", "worker.wiring", "worker.service"}


def modules(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((WORKER / folder).glob("*.py"))]


def name_of(path: Path) -> str:
    return str(path.relative_to(WORKER))


def imports(path: Path) -> Iterator[str]:
    """Yield the full name of everything that the file imports, `from a import b` as a.b; also inside functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def pure_shared() -> set[str]:
    """Return our modules that themselves import nothing but pure ones: what a stage may use beside records."""
    tops = {f"worker.{path.stem}": path for path in WORKER.glob("*.py") if path.stem not in ("__init__", "__main__")}
    pure = {
        name
        for name, path in tops.items()
        if all(used.partition(".")[0] in CALCULATING or within(used, set(tops)) for used in imports(path))
    }
    while True:
        smaller = {
            name
            for name in pure
            if all(not used.startswith("worker") or within(used, pure) for used in imports(tops[name]))
        }
        if smaller == pure:
            return pure - {"worker.ports"}
        pure = smaller


@pytest.mark.parametrize("path", modules("stages"), ids=name_of)
def test_a_stage_imports_only_pure_modules_and_calculating_libraries(path: Path) -> None:
    allowed = pure_shared()
    assert "worker.records" in allowed
    ours = [name for name in imports(path) if name.startswith("worker")]
    others = [name for name in imports(path) if not name.startswith("worker")]
    assert [name for name in ours if not within(name, allowed)] == []
    assert [name for name in others if name.partition(".")[0] not in CALCULATING] == []


@pytest.mark.parametrize("path", [*modules("stages"), *sorted(WORKER.glob("topony*.py"))], ids=name_of)
def test_a_stage_neither_looks_at_a_clock_nor_opens_anything(path: Path) -> None:
    faults = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in TOUCHES:
                faults.append(f"line {node.lineno}: {called.id}()")
            if isinstance(called, ast.Attribute) and called.attr in TELLS_TIME:
                # `moment.time()` of a value is a calculation; of a module or class it is a look at the clock.
                owner = called.value
                if isinstance(owner, ast.Name) and owner.id in {"time", "datetime", "date"}:
                    faults.append(f"line {node.lineno}: {owner.id}.{called.attr}()")
    assert faults == []


@pytest.mark.parametrize("path", modules("loops"), ids=name_of)
def test_a_loop_knows_ports_and_not_clients(path: Path) -> None:
    forbidden = (OUTSIDE_LAYERS - {"worker.loops"}) | CLIENTS
    assert [name for name in imports(path) if within(name, forbidden)] == []


@pytest.mark.parametrize("path", modules("edges"), ids=name_of)
def test_an_edge_knows_no_loop_and_no_command(path: Path) -> None:
    assert [name for name in imports(path) if within(name, OUTSIDE_LAYERS - {"worker.edges"})] == []


@pytest.mark.parametrize("name", ["records", "ports", "text"])
def test_the_core_imports_nothing_of_ours_but_records(name: str) -> None:
    used = [each for each in imports(WORKER / f"{name}.py") if each.startswith("worker")]
    assert [each for each in used if not within(each, {"worker.records"})] == []


@pytest.mark.parametrize("path", [path for path in WORKER.glob("*.py") if path.stem not in (
    "__main__", "cli", "wiring", "service", "stores", "options")], ids=name_of)  # fmt: skip
def test_a_shared_module_knows_neither_edges_nor_loops_nor_commands(path: Path) -> None:
    assert [name for name in imports(path) if within(name, OUTSIDE_LAYERS)] == []


STARTS = """
import argparse, sys
from worker.commands import enrich
from worker.loops import enricher
from worker.wiring import setup
parser = argparse.ArgumentParser()
enrich.add_arguments(parser)
with setup(parser.parse_args([])) as context:
    context.taxonomy_source()
print(*sorted({"aiohttp", "trafilatura", "feedparser"} & sys.modules.keys()))
"""


def test_a_worker_starts_without_libraries_that_it_may_never_need() -> None:
    """They cost a fifth of its start, and a start is most of what a worker's death costs."""
    ran = subprocess.run(
        [sys.executable, "-c", STARTS], capture_output=True, text=True, cwd=WORKER.parent, timeout=60, check=False
    )
    assert (ran.stdout, ran.stderr) == ("\n", "")
