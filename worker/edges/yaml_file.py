"""
Read a YAML file so that every fault can be told with file and line, and all of them at once.

`Document.take` checks one value against a type (msgspec's rules); faults gather in `Document.faults`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

T = TypeVar("T")
Key = tuple[str | int, ...]
MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong in a file that a person wrote."""

    file: str
    line: int
    """Counted from 1; 0 when the file as a whole is meant."""
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


class FileFaults(Exception):
    """All faults that were found; the file must not be used."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, faults)))


@dataclass(slots=True)
class Document:
    """A parsed YAML file: plain data, the line of each value, and the faults found so far."""

    file: str
    data: Any
    lines: dict[Key, int]
    faults: list[Fault] = field(default_factory=list)

    def get(self, *key: str | int) -> Any:
        """Return the plain value at *key*, None when there is none."""
        value = self.data
        for part in key:
            if isinstance(value, Mapping):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value

    def fault(self, reason: str, *key: str | int) -> None:
        """Note that the value at *key* (or the nearest value above it) is wrong."""
        while key not in self.lines and key:
            key = key[:-1]
        self.faults.append(Fault(file=self.file, line=self.lines.get(key, 0), reason=reason))

    def take(self, kind: type[T], *key: str | int) -> T | None:
        """Return the value at *key* as *kind*; None, and a fault, when it is missing or of another type."""
        name = ".".join(map(str, key)) or "the file"
        value = self.get(*key)
        if value is None:
            self.fault(f"{name} is missing", *key)
            return None
        try:
            return msgspec.convert(value, kind, strict=True)
        except msgspec.ValidationError as error:
            self.fault(f"{name}: {error}", *key)
            return None

    def unknown(self, allowed: set[str], *key: str | int) -> None:
        """Note every key of the mapping at *key* that is not *allowed*."""
        value = self.get(*key)
        if isinstance(value, Mapping):
            for name in value:
                if name not in allowed:
                    self.fault(f"unknown key {name!r}; known are {', '.join(sorted(allowed))}", *key, name)

    def check(self) -> None:
        """Raise FileFaults when any fault was noted."""
        if self.faults:
            raise FileFaults(self.faults)


_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""In C where PyYAML has it: a third of a worker's start was spent parsing the taxonomy in Python."""


def read(path: Path) -> Document:
    """
    Read the YAML file at *path*.

    Raises: FileFaults: it cannot be read, is larger than MAX_BYTES, or is not one YAML document.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise FileFaults([Fault(file=str(path), line=0, reason=error.strerror or str(error))]) from error
    if len(raw) > MAX_BYTES:
        raise FileFaults([Fault(file=str(path), line=0, reason=f"larger than {MAX_BYTES} bytes")])
    return parse(raw, file=str(path))


def parse(raw: bytes, *, file: str) -> Document:
    """Parse the bytes of one YAML document; *file* names it in faults. Raises: FileFaults."""
    loader = _Loader(raw)
    try:
        node = loader.get_single_node()
        lines: dict[Key, int] = {}
        if node is None:
            return Document(file=file, data={}, lines={(): 1})
        twice = list(_walk(node, (), lines))
        data = loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise FileFaults([Fault(file=file, line=mark.line + 1 if mark else 0, reason=problem)]) from error
    finally:
        loader.dispose()
    return Document(
        file=file, data=data, lines=lines, faults=[Fault(file=file, line=n, reason=why) for n, why in twice]
    )


def _walk(node: yaml.Node, key: Key, lines: dict[Key, int]) -> Iterator[tuple[int, str]]:
    """Fill *lines*; yield a fault for each key that stands twice in a mapping (YAML silently keeps the last)."""
    lines[key] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            below = (*key, name.value)
            if below in lines:
                yield name.start_mark.line + 1, f"key {name.value!r} stands twice"
            yield from _walk(value, below, lines)
            lines[below] = name.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _walk(value, (*key, number), lines)
