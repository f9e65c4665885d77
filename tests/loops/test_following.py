"""The set of followed feeds may change at any time: none is polled twice at once, none waits for an old plan."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace

import pytest

from worker.feed_config import FeedConfig
from worker.loops.following import Following

FAR = 3600.0


def feed(name: str, *, interval_s: float = FAR) -> FeedConfig:
    return FeedConfig(id=name, url=f"https://example.org/{name}", interval_s=interval_s)


@dataclass(slots=True)
class Polls:
    """Remembers polls; each takes until `go` is set."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    begun: list[FeedConfig] = field(default_factory=list)
    at_once: Counter[str] = field(default_factory=Counter)

    async def __call__(self, its: FeedConfig) -> None:
        self.begun.append(its)
        self.at_once[its.id] += 1
        assert self.at_once[its.id] == 1
        await self.go.wait()
        self.at_once[its.id] -= 1

    def due(self, its: FeedConfig) -> float:
        """Return at once for the first poll, then the interval."""
        return 0.0 if its not in self.begun else its.interval_s


async def soon(true: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - what is waited for knows no events
            await asyncio.sleep(0.001)


def following(test: Callable[[Following, Polls], Coroutine[None, None, None]]) -> None:
    async def run() -> None:
        polls = Polls()
        its = Following([feed("a"), feed("b")], due=polls.due, poll=polls)
        running = asyncio.create_task(its.run())
        try:
            await soon(lambda: len(polls.begun) == 2)
            await test(its, polls)
        finally:
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    asyncio.run(run())


def test_a_new_feed_is_polled_and_one_that_is_gone_no_more() -> None:
    async def change(its: Following, polls: Polls) -> None:
        polls.go.set()
        its.change([feed("a"), feed("c")])
        await soon(lambda: len(polls.begun) == 3)
        assert polls.begun[-1].id == "c"
        its.change([feed("a"), feed("b", interval_s=0.001), feed("c")])
        await soon(lambda: len(polls.begun) > 5)
        assert {each.id for each in polls.begun[3:]} == {"b"}

    following(change)


def test_a_changed_feed_does_not_wait_out_its_old_interval() -> None:
    async def change(its: Following, polls: Polls) -> None:
        polls.go.set()
        await asyncio.sleep(0.01)  # both wait for an hour now
        its.change([feed("a", interval_s=0.001), feed("b")])
        await soon(lambda: len(polls.begun) > 5)
        assert {each.id for each in polls.begun[2:]} == {"a"}

    following(change)


def test_a_poll_that_is_under_way_ends_before_the_changed_feed_is_polled() -> None:
    async def change(its: Following, polls: Polls) -> None:
        other = replace(feed("a"), title="Another")
        its.change([other, feed("b")])
        await asyncio.sleep(0.02)
        assert len(polls.begun) == 2
        polls.go.set()
        await soon(lambda: other in polls.begun)
        assert len(polls.begun) == 3

    following(change)


def test_what_a_poll_raises_ends_it_all() -> None:
    async def refuse(its: FeedConfig) -> None:
        raise ConnectionError(its.id)

    async def run() -> None:
        await Following([feed("a")], due=lambda _: 0.0, poll=refuse).run()

    with pytest.raises(ConnectionError, match="a"):
        asyncio.run(run())
