"""What may befall a poller: killed at any point, doubled, its log away, its memory damaged; feeds grow meanwhile."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial

from tests.faults import poller_oracle
from tests.faults.papers import Papers
from tests.faults.poller_child import INTERVAL_S, POINTS
from tests.faults.stand import START_S, Stand
from tests.faults.usage import unready, usage
from tests.support.services import lasting_port
from worker.edges.data_folder import LOG_FILE
from worker.ports import NewRecord

LOG_BACK_S = 15.0
"""So soon after its log is back a poller goes on."""
NOTICED_S = 16.0
"""So long after the log has gone the last fetch has ended: an append waits 10 s for its answer."""
ROOM_MIB = 48.0
"""So much more may a poller hold whose log is away: 32 MiB that wait, and a new client for each attempt."""


class Newsroom:
    """Growing feeds, pollers of them, and one worker behind."""

    def __init__(self, stand: Stand, papers: Papers) -> None:
        self.stand = stand
        self.papers = papers
        self.port = lasting_port(following=2)
        self._list = str(papers.feed_list(stand.folder, interval_s=INTERVAL_S))
        self._pollers: list[subprocess.Popen[bytes]] = []

    def shard(self, index: int, count: int) -> subprocess.Popen[bytes]:
        """Start a poller of a part of the feeds."""
        return self.poller(command=("poll", "--shard", f"{index}/{count}"))

    def poller(
        self, point: str = "none", number: int = 0, *, port: int = 0, command: tuple[str, ...] = ("poll",)
    ) -> subprocess.Popen[bytes]:
        """Start a poller; see poller_child for *point* and *number*. *command*: another one that polls."""
        module = f"tests.faults.poller_child {point} {number}"
        command = (*command, "--feeds", self._list, "--http-port", str(port))
        started = self.stand.installation.start(*command, module=module)
        self._pollers.append(started)
        return started

    def kill(self, poller: subprocess.Popen[bytes]) -> None:
        self._pollers.remove(poller)
        poller.kill()
        poller.wait()

    def stop(self, poller: subprocess.Popen[bytes], *, starting: bool = False) -> float:
        """SIGTERM; returns the seconds it took. Raises: AssertionError: not 0, nor while *starting* by the signal."""
        asked = time.monotonic()
        poller.send_signal(signal.SIGTERM)
        self.ended(poller, codes=(0, -signal.SIGTERM) if starting else (0,))
        return time.monotonic() - asked

    def ended(self, poller: subprocess.Popen[bytes], *, codes: tuple[int, ...]) -> None:
        """Wait for its end. Raises: AssertionError: with none of *codes*."""
        self._pollers.remove(poller)
        code = poller.wait(60)
        assert code in codes, f"a poller ended with {code}"

    def until_ready(self) -> None:
        """Wait until the poller on the port says that it can work. Raises: AssertionError."""
        deadline = time.monotonic() + START_S
        while why := unready("127.0.0.1", self.port):
            assert time.monotonic() < deadline, f"not ready within {START_S:.0f} s: {why}"
            time.sleep(0.1)

    def died(self, poller: subprocess.Popen[bytes]) -> None:
        """Wait for the death that the poller was told to die."""
        assert poller.wait(START_S) == -signal.SIGKILL, "the point was not reached"
        self._pollers.remove(poller)
        self.stand.times += 1

    def appended(self) -> int:
        return sum(self.stand.view.ends(self.stand.names.raw).values())

    def recovered(self, since: float, before: int, *, within_s: float = START_S) -> None:
        """Wait until there are more articles than *before*; note how long that took since the moment *since*."""
        deadline = time.monotonic() + within_s
        while self.appended() <= before:
            assert time.monotonic() < deadline, f"no article within {within_s:.0f} s"
            time.sleep(0.1)
        self.stand.recoveries.append(time.monotonic() - since)

    def come_to_an_end(self) -> None:
        """Let the feeds rest, the pollers read all of them, and stop these; the oracle knows what was served."""
        served = self.papers.stop_growing()
        if not self._pollers:
            self.poller()
        deadline = time.monotonic() + 60
        while served - set(poller_oracle.links_in(self.stand.view, self.stand.names.raw)):
            if time.monotonic() > deadline:
                break  # the oracle says what is missing
            time.sleep(0.5)
        for poller in list(self._pollers):
            self.stop(poller, starting=True)
        self.stand.judge = partial(poller_oracle.judge, served=served)

    def close(self) -> None:
        for poller in self._pollers:
            poller.kill()
            poller.wait()


@contextmanager
def newsroom(stand: Stand, *, per_second: float = 20.0, workers: int = 1) -> Iterator[Newsroom]:
    """Give one with that many *workers*; after the block everything is read and the oracle told."""
    with Papers(per_second=per_second) as papers:
        made = Newsroom(stand, papers)
        try:
            for index in range(workers):
                stand.worker(index)
            yield made
            made.come_to_an_end()
        finally:
            made.close()


def killed_at_points(stand: Stand) -> None:
    """Killed at each point of a poll; then another poller goes on where it left off."""
    with newsroom(stand) as room:
        for point in POINTS:
            room.died(room.poller(point, stand.random.randint(2, 25)))
            died, before = time.monotonic(), room.appended()
            poller = room.poller()
            room.recovered(died, before)
            room.kill(poller)


def killed_at_random(stand: Stand) -> None:
    """Killed at any moment, again and again."""
    with newsroom(stand) as room:
        for _ in range(5 if stand.short else 50):
            poller = room.poller()
            time.sleep(stand.random.uniform(0.8, 3.5))
            room.kill(poller)
            stand.times += 1


def two_at_once(stand: Stand) -> None:
    """T17: two pollers read the same feeds; one of them is killed and comes back now and then."""
    with newsroom(stand) as room:
        pollers = [room.poller(), room.poller()]
        for turn in range(3 if stand.short else 20):
            time.sleep(stand.random.uniform(2.0, 4.0))
            room.kill(pollers[turn % 2])
            pollers[turn % 2] = room.poller()
            stand.times += 1


def shards_change(stand: Stand) -> None:
    """From 2 shards to 3 and back in all orders: with two pollers of one feed for a while, and with none."""
    with newsroom(stand) as room:
        pollers = {index: room.shard(index, 2) for index in range(2)}
        for order, new_first in (((2, 0, 1), True), ((0, 1, 2), False), ((1, 2, 0), True), ((2, 1, 0), False)):
            for count in (3, 2):
                for index in order:
                    time.sleep(stand.random.uniform(0.2, 1.5))
                    _count_anew(room, pollers, index, count, new_first=new_first)
                    stand.times += 1
            if stand.short and not new_first:
                break
    stand.recoveries.clear()


def _count_anew(
    room: Newsroom, pollers: dict[int, subprocess.Popen[bytes]], index: int, count: int, *, new_first: bool
) -> None:
    """Replace poller *index* by one that counts *count* shards, if it is one of them; the old one is killed."""
    old, before = pollers.pop(index, None), room.appended()
    if old is not None and not new_first:
        room.kill(old)
    if index < count:
        pollers[index] = room.shard(index, count)
        room.recovered(time.monotonic(), before)
    if old is not None and new_first:
        room.kill(old)


def broker_away(stand: Stand) -> None:
    """The broker is stopped, killed and frozen for a while each."""
    kafka = stand.kafka
    _log_away(stand, [(kafka.stop, kafka.start), (kafka.kill, kafka.start), (kafka.freeze, kafka.thaw)])


def file_locked(stand: Stand) -> None:
    """Another process keeps the file of the embedded log to itself."""
    with closing(sqlite3.connect(stand.folder / "data" / LOG_FILE, isolation_level=None)) as other:
        _log_away(stand, [(lambda: _now(other, "BEGIN IMMEDIATE"), lambda: _now(other, "ROLLBACK"))])


def _now(file: sqlite3.Connection, statement: str) -> None:
    file.execute("PRAGMA busy_timeout = 30000")
    file.execute(statement)


def _log_away(stand: Stand, ways: Sequence[tuple[Callable[[], None], Callable[[], None]]]) -> None:
    """The log goes away for a while: the poller fetches nothing, holds little, says so, and goes on when it is back."""
    seconds = 25 if stand.short else 75
    with newsroom(stand) as room:
        poller = room.poller(port=room.port)
        room.recovered(time.monotonic(), 0)
        stand.recoveries.clear()  # that was its start
        for away, back in ways:
            room.until_ready()
            before, normal = room.appended(), _memory_mib(poller)
            away()
            gone = time.monotonic()
            most, asked = normal, 0
            while time.monotonic() - gone < seconds:
                time.sleep(0.5)
                most = max(most, _memory_mib(poller))
                if time.monotonic() - gone < NOTICED_S:
                    asked = room.papers.requests()
            fetched = room.papers.requests() - asked
            said = unready("127.0.0.1", room.port)
            back()
            stand.times += 1
            since = time.monotonic()
            room.recovered(since, before, within_s=LOG_BACK_S * 4)
            stand.notes.append(
                f"away {seconds} s: {normal:.0f} MiB before, {most:.0f} at most, {fetched} fetches, goes on after"
                f" {stand.recoveries[-1]:.1f} s"
            )
            assert poller.poll() is None, "the poller ended"
            assert fetched == 0, f"{fetched} fetches while the log was away"
            assert said.startswith("log:"), f"/readyz says {said}"
            assert most - normal < ROOM_MIB, f"memory grew from {normal:.0f} to {most:.0f} MiB"


def state_damaged(stand: Stand) -> None:
    """The memory of the feeds is overwritten with what nobody can read: entries come again, none twice as new."""
    topic = stand.installation.topics.feed_state
    with newsroom(stand) as room:
        for damage in (b"", b"{", b'{"feed": 7}', b"\xff" * 100, b"[" * 10_000, None):
            poller = room.poller()
            before = room.appended()
            room.recovered(time.monotonic(), before)
            room.stop(poller)
            with stand.installation.log() as log:
                appender = log.appender()
                appender.append([NewRecord(topic=topic, key=b"paper%d" % n, value=damage) for n in range(20)])
                appender.close()
            stand.times += 1
    stand.recoveries.clear()


def _memory_mib(process: subprocess.Popen[bytes]) -> float:
    return usage(process.pid).rss_kib / 1024
