"""T24: rights and users are taken away under load, and given back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from kafka.admin import ResourceType

from tests.faults.stand import START_S, Stand, stand_of
from tests.support.secured_kafka import SecuredBroker
from tests.support.services import RedisServer
from worker.edges.process import ExitCode

USER, PASSWORD = "worker", "sesame"
REFUSED = {ExitCode.NOT_AUTHORISED, ExitCode.SETTINGS}
"""Topics that a user may not describe are hidden: to a worker that starts they are missing."""


class Secured(Stand):
    """Its workers have a user of their own, with a password and no more rights than they need."""

    secured: SecuredBroker


@contextmanager
def secured(*, short: bool) -> Iterator[Secured]:
    """Give such a stand."""
    kafka, redis = SecuredBroker(), RedisServer()
    try:
        kafka.start()
        redis.start()
        with stand_of(Secured, kafka=kafka, redis=redis, short=short) as on:
            on.secured = kafka
            kafka.add_user(USER, PASSWORD)
            kafka.allow(USER, on.names.identities)
            (on.folder / "password").write_text(PASSWORD, "utf-8")
            on.surroundings = {
                "DATELINE_KAFKA_BOOTSTRAP": kafka.scram,
                "DATELINE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
                "DATELINE_KAFKA_USER": USER,
                "DATELINE_KAFKA_PASSWORD_FILE": str(on.folder / "password"),
                "DATELINE_KAFKA_CA_FILE": str(kafka.certificates.ca),
            }
            yield on
    finally:
        kafka.remove()
        redis.remove()


def revoked(stand: Secured) -> None:
    """Take away one right after the other, then the user: workers end with code 4, restarted too, until it is back."""
    stand.allowed |= REFUSED
    broker, own = stand.secured, stand.names.identities

    kinds = (ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID)
    ways: list[Callable[[], None]] = [partial(broker.forbid, USER, own, kind) for kind in kinds]
    ways.append(partial(broker.remove_user, USER))
    with stand.load(200):
        workers = stand.steady(2)
        for take in ways * (1 if stand.short else 3):
            time.sleep(stand.random.uniform(0.5, 2.0))
            take()
            stand.times += 1
            for codes in ({ExitCode.NOT_AUTHORISED}, REFUSED):  # those that worked, and those that were started again
                ended = [worker.wait(60) for worker in workers]
                assert set(ended) <= codes, f"workers without rights ended with {ended}"
                for worker in workers:
                    stand.workers.remove(worker)
                workers = [stand.worker(index) for index in range(2)]
            for worker in workers:
                stand.workers.remove(worker)
                worker.kill()
                worker.wait()
            broker.add_user(USER, PASSWORD)
            broker.allow(USER, own)
            back = stand.progress.mark()
            workers = [stand.worker(index) for index in range(2)]
            stand.recovered(back, within_s=2 * START_S, every_partition=True)
            stand.all_alive(workers)
    said = "".join(path.read_text("utf-8") for path in stand.folder.glob("enrich-*.log"))
    assert PASSWORD not in said, "the password is in the log"
