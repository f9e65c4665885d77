"""Whether readers of an older JSON Schema can read what is written under a newer one: only optional fields may come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
_WORDS = {"$schema", "$id", "$defs", "$comment", "title", "description", "examples", "properties", "required"}

_COMPARED = object()


def broken(old: Schema, new: Schema) -> list[str]:
    """Return in words what *new* breaks; empty when nothing."""
    return list(dict.fromkeys(_broken(old, new, (old, new), "", frozenset())))


def _broken(old: Any, new: Any, roots: tuple[Schema, Schema], path: str, above: frozenset[str]) -> Iterator[str]:
    old, new, above = _followed(old, new, roots, above)
    if old is _COMPARED:
        return
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        if old != new:
            yield f"{path}: {old} became {new}"
        return
    yield from _of_fields(old, new, roots, path, above)
    for word in sorted((old.keys() | new.keys()) - _WORDS):
        mine, yours = old.get(word), new.get(word)
        if isinstance(mine, list) and isinstance(yours, list) and len(mine) == len(yours):
            for number, (one, other) in enumerate(zip(mine, yours, strict=True)):
                yield from _broken(one, other, roots, f"{path}/{word}/{number}", above)
        else:
            yield from _broken(mine, yours, roots, f"{path}/{word}", above)


def _of_fields(
    old: Schema, new: Schema, roots: tuple[Schema, Schema], path: str, above: frozenset[str]
) -> Iterator[str]:
    were, are = old.get("properties", {}), new.get("properties", {})
    needed, need = set(old.get("required", ())), set(new.get("required", ()))
    for name in sorted(were.keys() - are.keys()):
        yield f"{path}/{name}: the field was removed"
    for name in sorted(need - needed):
        yield f"{path}/{name}: the field became required"
    for name in sorted(needed - need):
        yield f"{path}/{name}: the field is no longer sure to be there"
    for name in sorted(were.keys() & are.keys()):
        yield from _broken(were[name], are[name], roots, f"{path}/{name}", above)


def _followed(
    old: Any, new: Any, roots: tuple[Schema, Schema], above: frozenset[str]
) -> tuple[Any, Any, frozenset[str]]:
    """Return both with references to their own parts replaced by these; None for what was compared above."""
    if isinstance(old, Mapping) and "$ref" in old:
        name = str(old["$ref"])
        if name in above or not name.startswith("#/$defs/"):
            return (_COMPARED, None, above) if name in above else (name, _reference(new), above)
        old, above = _part(roots[0], name), above | {name}
    if isinstance(new, Mapping) and str(new.get("$ref", "")).startswith("#/$defs/"):
        new = _part(roots[1], str(new["$ref"]))
    return old, new, above


def _part(root: Schema, name: str) -> Any:
    return root["$defs"][name.rpartition("/")[2]]


def _reference(new: Any) -> Any:
    return new.get("$ref") if isinstance(new, Mapping) else new
