"""
The outside form of a dataclass: JSON in camelCase, absent instead of null, defaults left out.

`codec(cls)` derives reader, writer and schema from the fields, so that a record is described once: in records.py.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Generic, TypeVar

import msgspec

T = TypeVar("T")
Convert = Callable[[Any], Any]

UtcTime = Annotated[datetime, msgspec.Meta(tz=True)]


def camel(name: str) -> str:
    """Return snake_case *name* in camelCase."""
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec(Generic[T]):
    """Reads and writes one dataclass."""

    mirror: type[msgspec.Struct]
    """The outside form as msgspec knows it; also what the JSON Schema is made from."""
    decoder: msgspec.json.Decoder[Any]
    to_record: Convert
    to_plain: Convert

    def read(self, data: bytes) -> T:
        """
        Return the record that *data* holds.

        Raises: msgspec.ValidationError: a field is missing or of a wrong type; msgspec.DecodeError, UnicodeDecodeError:
        not JSON; RecursionError: nested too deep.
        """
        record: T = self.to_record(self.decoder.decode(data))
        return record

    def plain(self, record: T) -> dict[str, Any]:
        """Return *record* as a dict for orjson."""
        result: dict[str, Any] = self.to_plain(record)
        return result


def codec(cls: type[T]) -> Codec[T]:
    """Return the codec of the dataclass *cls*."""
    kind: Any = cls
    mirror = _mirror(kind)
    decoder = msgspec.json.Decoder(mirror)
    return Codec(mirror=mirror, decoder=decoder, to_record=_reader(kind), to_plain=_writer(kind))


def _is_record(hint: Any) -> bool:
    return is_dataclass(hint)


@cache
def _hints(cls: Any) -> Mapping[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def _optional(hint: Any) -> Any:
    """Return what stands beside None in *hint*, or *hint* itself."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        rest = [part for part in typing.get_args(hint) if part is not types.NoneType]
        return rest[0] if len(rest) == 1 else typing.Union[tuple(rest)]  # noqa: UP007
    return hint


def _outside_type(hint: Any) -> Any:
    hint = _optional(hint)
    if _is_record(hint):
        return _mirror(hint)
    if hint is datetime:
        return UtcTime
    args = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return types.GenericAlias(tuple, (_outside_type(args[0]), ...))
    if typing.get_origin(hint) is Mapping:
        return types.GenericAlias(dict, (args[0], _outside_type(args[1])))
    return hint


@cache
def _mirror(cls: Any) -> type[msgspec.Struct]:
    """Return a Struct with the fields of *cls*; what may be None inside may only be absent outside."""
    members: list[Any] = []
    for item in fields(cls):
        hint = _hints(cls)[item.name]
        outside = _outside_type(hint)
        if item.default is MISSING and item.default_factory is MISSING and _optional(hint) is hint:
            members.append((item.name, outside))
        else:
            members.append((item.name, outside | msgspec.UnsetType, msgspec.UNSET))
    doc = {"__doc__": " ".join((cls.__doc__ or "").split())}
    return msgspec.defstruct(cls.__name__, members, rename="camel", kw_only=True, namespace=doc)


def _from_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


def _read_value(hint: Any) -> Convert | None:
    """Return what turns the outside value into the inside one; None when it stays as it is."""
    hint = _optional(hint)
    if _is_record(hint):
        return _reader(hint)
    if hint is datetime:
        return _from_utc
    if typing.get_origin(hint) is tuple and (inner := _read_value(typing.get_args(hint)[0])):
        return lambda items: tuple([inner(item) for item in items])
    return None


@cache
def _reader(cls: Any) -> Convert:
    plan = [(item.name, _read_value(_hints(cls)[item.name])) for item in fields(cls)]
    unset = msgspec.UNSET

    def read(struct: Any) -> Any:
        given = {}
        for name, convert in plan:
            value = getattr(struct, name)
            if value is not unset:
                given[name] = value if convert is None else convert(value)
        return cls(**given)

    return read


def _write_value(hint: Any) -> Convert | None:
    hint = _optional(hint)
    if _is_record(hint):
        return _writer(hint)
    if typing.get_origin(hint) is tuple and (inner := _write_value(typing.get_args(hint)[0])):
        return lambda items: [inner(item) for item in items]
    return None


@cache
def _writer(cls: Any) -> Convert:
    plan = []
    for item in fields(cls):
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        plan.append((item.name, camel(item.name), _write_value(_hints(cls)[item.name]), default))

    def write(record: Any) -> dict[str, Any]:
        result = {}
        for name, outside, convert, default in plan:
            value = getattr(record, name)
            if value is not None and value != default:
                result[outside] = value if convert is None else convert(value)
        return result

    return write
