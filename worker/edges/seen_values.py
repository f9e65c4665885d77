"""
What both seen stores share: how keys and values look as bytes, and the transactions over them.

A transaction is a function that reads through `Fetch` and returns what is to be written; the store runs it so that
nothing that it read has changed when its writes land. Values begin with a format byte (the owner of a key
is bare: the 32 bytes of its story id); a format of a newer release makes a worker wait.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

import msgspec

from worker.ports import KnownStory, RoutedVersion, SeenStoreAway, UnreadableInput
from worker.recall import recall
from worker.records import Fingerprint, Published, Verdict, VerdictKind
from worker.stages.judge import Memory, StoryState, keys_of

T = TypeVar("T")
DEFAULT_TTL_S = 30 * 86_400
"""Stories and keys are forgotten this long after they were last touched."""
VERDICT_GRACE_S = 3600
"""Verdicts are forgotten this long after the committed offset has passed them."""
ROUTED_VERSIONS = 8
"""Versions of a story whose routes are kept."""

Fetch = Callable[[Sequence[bytes]], Sequence[bytes | None]]
"""Reads keys, in order; None for what is not there."""

_FORMAT = b"\x01"
_OWN = 8
"""Bytes of a raw record's own story id, kept with its verdict."""
_STORY_ID = re.compile("[0-9a-f]{64}")
_KINDS = tuple(VerdictKind)
_MATCHES = (None, "story", "link", "guid", "text")
_encode = msgspec.msgpack.Encoder().encode
_decode_verdict = msgspec.msgpack.Decoder(tuple[int, bytes, int, datetime, int, int, int, str | None, bytes]).decode
_decode_story = msgspec.msgpack.Decoder(
    tuple[int, datetime, str, tuple[str, ...], int, bytes | None, bool, dict[str, bytes], tuple[tuple[bytes, str], ...]]
).decode
_decode_routes = msgspec.msgpack.Decoder(dict[int, tuple[str, ...]]).decode


@dataclass(frozen=True, slots=True)
class Writes:
    """What a transaction leaves behind."""

    lasting: Mapping[bytes, bytes] = field(default_factory=dict)
    """Verdicts, by `verdict_key`."""
    expiring: Mapping[bytes, bytes] = field(default_factory=dict)
    """All else; written anew means touched."""
    first_offsets: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """The lowest offset among the lasting, by partition of the log."""


Transaction = Callable[[Fetch], tuple[T, Writes]]


def verdict_key(topic: str, partition: int, offset: int) -> bytes:
    """Return the key of a raw record's verdict; those of one partition sort by offset."""
    return b"r%s/%d/" % (topic.encode(), partition) + offset.to_bytes(8, "big")


def judging(fingerprints: Sequence[Fingerprint], now: datetime) -> Transaction[list[Verdict]]:
    """Return the transaction that judges a batch, in order."""

    def run(fetch: Fetch) -> tuple[list[Verdict], Writes]:
        memory = _remembered(fingerprints, fetch)
        verdicts = [memory.judge(fingerprint, now=now) for fingerprint in fingerprints]
        return verdicts, _writes(memory)

    return run


def restoring(published: Sequence[Published]) -> Transaction[None]:
    """Return the transaction that remembers verdicts which were given before the store was lost, with their routes."""
    routed = [
        RoutedVersion(story=item.verdict.story, version=item.verdict.version, routes=item.routes)
        for item in published
        # Also of a version on no route: else the next one would leave those of the version before.
        if item.routes is not None and (item.routes or item.verdict.kind is VerdictKind.UPDATE)
    ]

    def run(fetch: Fetch) -> tuple[None, Writes]:
        memory = _remembered(
            [item.fingerprint for item in published], fetch, also={item.verdict.story for item in published}
        )
        for item in published:
            memory.remember(item.fingerprint, recall(item, memory), verdict=item.may_come_again)
        writes = _writes(memory)
        if routed:
            _, routes = routing(routed)(fetch)
            writes = replace(writes, expiring={**writes.expiring, **routes.expiring})
        return None, writes

    return run


def routing(versions: Sequence[RoutedVersion]) -> Transaction[list[tuple[str, ...]]]:
    """Return the transaction that stores the routes of versions and tells those of the versions before."""

    def run(fetch: Fetch) -> tuple[list[tuple[str, ...]], Writes]:
        keys = list(dict.fromkeys(_routes_key(version.story) for version in versions))
        stored = dict(zip(keys, map(_routes, fetch(keys)), strict=True))
        before = []
        for version in versions:
            routes = stored[_routes_key(version.story)]
            earlier = [number for number in routes if number < version.version]
            before.append(routes[max(earlier)] if earlier else ())
            routes[version.version] = version.routes
            for number in [number for number in routes if number <= version.version - ROUTED_VERSIONS]:
                del routes[number]
        return before, Writes(expiring={key: _FORMAT + _encode(routes) for key, routes in stored.items()})

    return run


def knowing(story: str) -> Transaction[KnownStory | None]:
    """Return the transaction that tells what is known of a story; it writes nothing."""

    def run(fetch: Fetch) -> tuple[KnownStory | None, Writes]:
        if not _STORY_ID.fullmatch(story):
            return None, Writes()
        value, routes = fetch([_story_key(story), _routes_key(story)])
        if value is None:
            return None, Writes()
        state = _story(story, value)
        known = KnownStory(
            story=story,
            version=state.version,
            first_seen=state.first_seen,
            copies=state.copies,
            sources=len(state.sources),
            original=state.original,
            routes=dict(sorted(_routes(routes).items())),
        )
        return known, Writes()

    return run


def _writes(memory: Memory) -> Writes:
    """Return as bytes what has changed in *memory*."""
    lasting: dict[bytes, bytes] = {}
    first: dict[tuple[str, int], int] = {}
    for raw, (story, verdict) in memory.changed_verdicts.items():
        lasting[verdict_key(raw.topic, raw.partition, raw.offset)] = _verdict_bytes(story, verdict)
        where = (raw.topic, raw.partition)
        first[where] = min(raw.offset, first.get(where, raw.offset))
    expiring = {_owner_key(key): bytes.fromhex(story) for key, story in memory.changed_owners.items()}
    for state in memory.changed_stories.values():
        expiring[_story_key(state.story)] = _story_bytes(state)
    return Writes(lasting, expiring, first)


def _remembered(fingerprints: Sequence[Fingerprint], fetch: Fetch, *, also: Iterable[str] = ()) -> Memory:
    """
    Read all that the judge may ask for, and the stories *also*.

    A second read only where the first one names further stories.
    """
    raws = list(dict.fromkeys(fingerprint.raw for fingerprint in fingerprints))
    stories = list(dict.fromkeys(fingerprint.story for fingerprint in fingerprints))
    keys = list(dict.fromkeys(key for fingerprint in fingerprints for _, key in keys_of(fingerprint)))
    names = [verdict_key(raw.topic, raw.partition, raw.offset) for raw in raws]
    names += map(_story_key, stories)
    names += map(_owner_key, keys)
    values = fetch(names)
    memory = Memory()
    for raw, value in zip(raws, values, strict=False):
        if value is not None:
            memory.verdicts[raw] = _verdict(value)
    for key, value in zip(keys, values[len(raws) + len(stories) :], strict=True):
        if value is not None:
            memory.owners[key] = value.hex()
    asked = set(stories)
    values = values[len(raws) : len(raws) + len(stories)]
    named = set(memory.owners.values()).union(also)
    while True:
        for story, value in zip(stories, values, strict=True):
            if value is not None:
                state = memory.stories[story] = _story(story, value)
                if state.original is not None:
                    named.add(state.original)
        stories = sorted(named - asked)
        if not stories:
            return memory
        asked.update(stories)
        values = fetch([_story_key(story) for story in stories])


def _story_key(story: str) -> bytes:
    return b"s" + bytes.fromhex(story)


def _routes_key(story: str) -> bytes:
    return b"v" + bytes.fromhex(story)


def _owner_key(key: str) -> bytes:
    return key[0].encode() + bytes.fromhex(key[1:])


def _verdict_bytes(story: str, verdict: Verdict) -> bytes:
    """Return the value for the *verdict* on a raw record of *story*."""
    return _FORMAT + _encode(
        (
            _KINDS.index(verdict.kind),
            bytes.fromhex(verdict.story),
            verdict.version,
            verdict.first_seen,
            verdict.independent_sources,
            verdict.copies,
            _MATCHES.index(verdict.matched_by),
            verdict.original_publisher,
            bytes.fromhex(story)[:_OWN],
        )
    )


def _verdict(value: bytes) -> tuple[str, Verdict]:
    """Return the beginning of the raw record's story id, and the verdict that it had."""
    kind, about, version, first_seen, sources, copies, match, publisher, own = _decoded(_decode_verdict, value)
    verdict = Verdict(
        kind=_KINDS[kind],
        story=about.hex(),
        version=version,
        first_seen=first_seen,
        independent_sources=sources,
        copies=copies,
        matched_by=_MATCHES[match],
        original_publisher=publisher,
    )
    return own.hex(), verdict


def _story_bytes(state: StoryState) -> bytes:
    return _FORMAT + _encode(
        (
            state.version,
            state.first_seen,
            state.publisher,
            state.sources,
            state.copies,
            None if state.original is None else bytes.fromhex(state.original),
            state.counted,
            {place: bytes.fromhex(text) for place, text in state.shown.items()},
            [(bytes.fromhex(text), place) for text, place in state.texts],
        )
    )


def _story(story: str, value: bytes) -> StoryState:
    version, first_seen, publisher, sources, copies, original, counted, shown, texts = _decoded(_decode_story, value)
    return StoryState(
        story=story,
        version=version,
        first_seen=first_seen,
        publisher=publisher,
        sources=sources,
        copies=copies,
        original=None if original is None else original.hex(),
        counted=counted,
        shown={place: text.hex() for place, text in shown.items()},
        texts=tuple((text.hex(), place) for text, place in texts),
    )


def _routes(value: bytes | None) -> dict[int, tuple[str, ...]]:
    return {} if value is None else _decoded(_decode_routes, value)


def _decoded(decode: Callable[[bytes], T], value: bytes) -> T:
    """Return what *value* holds. Raises: SeenStoreAway: of a newer release; UnreadableInput: damaged."""
    if value[:1] != _FORMAT:
        raise SeenStoreAway(f"it holds values of a newer release (format {value[:1].hex()}): that release is needed")
    try:
        return decode(value[1:])
    except msgspec.DecodeError as error:
        raise UnreadableInput(f"the seen store holds a value that cannot be read ({error}): it is damaged") from error
