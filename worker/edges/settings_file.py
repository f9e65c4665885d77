"""Read the settings: flags over environment over file over defaults, every fault told at once with its place."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from worker.edges import yaml_file
from worker.edges.yaml_file import Document, Fault, FileFaults
from worker.settings import Duration, Settings, Where, contradictions

ENV_PREFIX = "DATELINE_"
CONFIG_VARIABLE = "DATELINE_CONFIG"
NOT_SETTINGS = ("DATELINE_TEST_", "DATELINE_KUBE_")
"""Prefixes of variables that only tests and tools read."""
_OF_THE_BROKER_SCRIPT = ("PORT", "DIR", "CONTROLLER_PORT", "ADVERTISED_HOST", "HEAP", "WAIT", "PROPERTIES")
NOT_SETTINGS_EITHER = {
    CONFIG_VARIABLE,
    "DATELINE_EVAL_DIR",
    *(f"DATELINE_KAFKA_{name}" for name in _OF_THE_BROKER_SCRIPT),
}
SECTIONS: Mapping[str, type[Any]] = get_type_hints(Settings)
HINTS: Mapping[Where, Any] = {
    (section, name): hint
    for section, kind in SECTIONS.items()
    for name, hint in get_type_hints(kind, include_extras=True).items()
}
FILES_THAT_MUST_EXIST = frozenset(where for where in HINTS if where[1].endswith("_file")) | {
    ("poller", "feeds"),
    ("taxonomy", "dir"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a value comes from."""

    kind: str
    """`default`, `file`, `environment` or `flag`."""
    name: str = ""
    """The file, the variable or the flag."""
    line: int = 0

    def __str__(self) -> str:
        place = f"{self.name}:{self.line}" if self.line else self.name
        return place or self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The effective settings and where each of them comes from."""

    settings: Settings
    origins: Mapping[Where, Origin]


def file_name(name: str) -> str:
    """Return a Python name as it stands in the file: password_file -> passwordFile."""
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def variable(where: Where) -> str:
    """Return the environment variable of a setting."""
    return ENV_PREFIX + "_".join(where).upper()


def load(
    path: Path | None, *, environ: Mapping[str, str], flags: Mapping[Where, tuple[str, object]] | None = None
) -> Loaded:
    """
    Return the effective settings.

    *flags*: by setting the name of the flag that sets it and the value. An empty environment variable counts as unset.
    A relative path in the file is relative to that file. Raises: FileFaults: all that is wrong.
    """
    document = yaml_file.read(path) if path else Document(file="", data={}, lines={})
    faults = document.faults
    _check_names(document)
    faults.extend(_unknown_variables(environ))
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    origins: dict[Where, Origin] = {}
    bad: set[Where] = set()
    for where, hint in HINTS.items():
        raw, origin = _find(where, document, environ, flags or {})
        origins[where] = origin
        if origin.kind == "default":
            continue
        try:
            value = _convert(raw, hint, origin)
        except (msgspec.ValidationError, ValueError) as error:
            bad.add(where)
            faults.append(_fault(where, origin, str(error)))
        else:
            values[where[0]][where[1]] = value
    settings = Settings(**{section: kind(**values[section]) for section, kind in SECTIONS.items()})
    for where, reason in (*contradictions(settings), *_missing_files(settings)):
        if where not in bad:
            faults.append(_fault(where, origins[where], reason, document))
    if faults:
        raise FileFaults(sorted(faults, key=lambda fault: (fault.file, fault.line)))
    return Loaded(settings=settings, origins=origins)


def read_secret(path: Path | None) -> str | None:
    """Return the secret in a file without its last line break; None when there is no file. Raises: OSError."""
    return path.read_text(encoding="utf-8").rstrip("\r\n") if path else None


def data_dir(settings: Settings, environ: Mapping[str, str]) -> Path:
    """Return the folder of the embedded log and seen store; it need not exist yet."""
    if settings.data.dir is not None:
        return settings.data.dir
    base = environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base.startswith("/") else Path("~/.local/share").expanduser()) / "dateline"


def _check_names(document: Document) -> None:
    """Note unknown sections and names, and sections that are no mappings."""
    if not isinstance(document.data, Mapping):
        document.fault("expected sections: " + ", ".join(SECTIONS))
        return
    document.unknown(set(SECTIONS))
    for section, kind in SECTIONS.items():
        value = document.get(section)
        if value is not None and not isinstance(value, Mapping):
            document.fault(f"{section}: expected a mapping", section)
        document.unknown({file_name(item.name) for item in fields(kind)}, section)


def _unknown_variables(environ: Mapping[str, str]) -> Iterator[Fault]:
    known = {variable(where) for where in HINTS} | NOT_SETTINGS_EITHER
    for name in environ:
        if name.startswith(ENV_PREFIX) and name not in known and not name.startswith(NOT_SETTINGS):
            near = difflib.get_close_matches(name, known, n=1)
            yield Fault(file=name, line=0, reason="unknown variable" + (f"; did you mean {near[0]}?" if near else ""))


def _find(
    where: Where, document: Document, environ: Mapping[str, str], flags: Mapping[Where, tuple[str, object]]
) -> tuple[Any, Origin]:
    """Return the raw value of a setting and its origin."""
    if where in flags:
        flag, value = flags[where]
        return value, Origin(kind="flag", name=flag)
    if text := environ.get(variable(where)):
        return text, Origin(kind="environment", name=variable(where))
    section, name = where[0], file_name(where[1])
    value = document.get(section, name)
    if value is not None:
        line = document.lines.get((section, name), 0)
        return value, Origin(kind="file", name=document.file, line=line)
    return None, Origin(kind="default")


def _convert(raw: Any, hint: Any, origin: Origin) -> Any:
    """Return *raw* as *hint* asks for. Raises: msgspec.ValidationError or ValueError: it is not that."""
    if origin.kind == "environment" and get_origin(hint) is tuple:
        raw = [part.strip() for part in raw.split(",")]

    def hook(kind: type[Any], value: Any) -> Any:
        return Duration.parse(value) if kind is Duration else _path(value, origin)

    if Path in (hint, *get_args(hint)):
        return _path(raw, origin)
    return msgspec.convert(raw, hint, strict=origin.kind != "environment", dec_hook=hook)


def _path(value: Any, origin: Origin) -> Path:
    if not isinstance(value, str | Path):
        raise ValueError(f"Expected a path, got {type(value).__name__}")  # noqa: TRY004 - one kind of error for callers
    path = Path(value).expanduser()
    return Path(origin.name).parent / path if origin.kind == "file" else path


def _missing_files(settings: Settings) -> Iterator[tuple[Where, str]]:
    for where in sorted(FILES_THAT_MUST_EXIST):
        path: Path | None = getattr(getattr(settings, where[0]), where[1])
        if path is not None and not os.access(path, os.R_OK):
            yield where, f"{path} cannot be read" if path.exists() else f"{path} does not exist"


def _fault(where: Where, origin: Origin, reason: str, document: Document | None = None) -> Fault:
    section, name = where[0], file_name(where[1])
    if origin.kind in ("environment", "flag"):
        return Fault(file=origin.name, line=0, reason=reason)
    place = Fault(file=origin.name, line=origin.line, reason=f"{section}.{name}: {reason}")
    if origin.kind == "file" or document is None:
        return place
    line = document.lines.get((section,), 0)
    return Fault(file=document.file or variable(where), line=line, reason=f"{section}.{name}: {reason}")
