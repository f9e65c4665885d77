"""Faults of the seen store's server: it goes, it hangs, it is full, it forgets."""

from __future__ import annotations

import time

from redis import Redis

from tests.faults.stand import Stand

BACK_S = 30.0


def restarted(stand: Stand) -> None:
    """Redis is killed with -9 and comes back with what it had on disk."""
    with stand.load():
        workers = stand.steady(2)
        for _ in range(1 if stand.short else 5):
            time.sleep(stand.random.uniform(0.5, 2.0))
            stand.redis.kill()
            stand.times += 1
            time.sleep(stand.random.uniform(1.0, 5.0))
            stand.redis.start()
            stand.recovered(stand.progress.mark(), within_s=BACK_S, every_partition=True)
            stand.all_alive(workers)


def frozen(stand: Stand) -> None:
    """Redis says nothing for some time, with its connections open."""
    with stand.load():
        workers = stand.steady(2)
        for seconds in [8] if stand.short else [8, 20, 60]:
            time.sleep(stand.random.uniform(0.5, 2.0))
            stand.redis.freeze()
            stand.times += 1
            time.sleep(seconds)
            stand.redis.thaw()
            stand.recovered(stand.progress.mark(), within_s=BACK_S, every_partition=True)
            stand.all_alive(workers)


def out_of_memory(stand: Stand) -> None:
    """Redis refuses writes for lack of memory, until it gets some."""
    client: Redis = Redis.from_url(stand.redis.url)
    with stand.load():
        workers = stand.steady(2)
        for _ in range(1 if stand.short else 3):
            client.config_set("maxmemory", "1mb")
            stand.times += 1
            time.sleep(5)
            client.config_set("maxmemory", "0")
            stand.recovered(stand.progress.mark(), within_s=BACK_S, every_partition=True)
            stand.all_alive(workers)
    client.close()


def flushed(stand: Stand) -> None:
    """Somebody empties Redis while workers run: they notice, fill it again from the topics, and go on."""
    client: Redis = Redis.from_url(stand.redis.url)
    with stand.load():
        workers = stand.steady(2)
        for _ in range(1 if stand.short else 3):
            time.sleep(stand.random.uniform(1.0, 3.0))
            client.flushall()
            stand.times += 1
            stand.recovered(stand.progress.mark(), within_s=60, every_partition=True)
            stand.all_alive(workers)
    client.close()


def empty_after_restart(stand: Stand) -> None:
    """Redis comes back with nothing at all, as after a lost disk, while one worker dies and returns too."""
    with stand.load():
        workers = stand.steady(2)
        time.sleep(2)
        stand.redis.kill()
        stand.times += 1
        stand.kill(workers[0])
        for path in stand.redis.folder.glob("appendonlydir/*"):
            path.unlink()
        stand.redis.start()
        stand.worker(0)
        stand.recovered(stand.progress.mark(), within_s=60, every_partition=True)
        stand.all_alive(workers[1:])
