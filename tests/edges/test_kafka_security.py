"""Credentials, certificates and rights: what works, what is refused at the start, and what is taken away meanwhile."""

from __future__ import annotations

import dataclasses
import gc
import shutil
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import ResourceType

from tests.make import raw_article, raw_record
from tests.support.installation import Installation
from tests.support.kafka_members import all_values, fill, next_batch, records, settings_for
from tests.support.secured_kafka import Certificates, SecuredBroker
from tests.support.services import RedisServer, ServiceUnavailable
from tests.support.waiting import until
from worker.edges.kafka_log import KafkaLog
from worker.edges.kafka_member import KafkaMember
from worker.edges.kafka_settings import KafkaSettings
from worker.edges.process import ExitCode
from worker.ports import LogUnavailable, NotAuthorised, TopicSpec, TransactionFailed

pytestmark = [pytest.mark.kafka, pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")]


@pytest.fixture(scope="module")
def _broker() -> Iterator[SecuredBroker | ServiceUnavailable]:
    made = SecuredBroker()
    try:
        made.start()
    except ServiceUnavailable as error:
        yield error
    else:
        yield made
    finally:
        made.remove()


@pytest.fixture(autouse=True)
def _sockets() -> Iterator[None]:
    """Collect the sockets of failed handshakes, which the client leaves to the garbage collector with a warning."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def broker(_broker: SecuredBroker | ServiceUnavailable) -> SecuredBroker:
    if isinstance(_broker, ServiceUnavailable):
        pytest.skip(f"need {_broker.service}: {_broker.reason}")
    return _broker


class Scene:
    """Two topics, and a user who may use them: with a password, or with a certificate."""

    def __init__(self, broker: SecuredBroker, prefix: str) -> None:
        self.broker, self.prefix = broker, prefix
        self.user = prefix + "worker"
        self.source, self.out = prefix + "in", prefix + "out"
        broker.add_user(self.user, "sesame")
        for principal in (self.user, f"CN={self.user}"):
            broker.allow(principal, prefix)
        self.plain = KafkaLog.open(settings_for(broker))
        self.plain.create_topics([TopicSpec(name=name, partitions=1) for name in (self.source, self.out)])
        fill(self.plain, self.source, b"a", b"b")
        common = dataclasses.replace(settings_for(broker), ssl_cafile=broker.certificates.ca, connect_timeout_ms=1500)
        self.scram = dataclasses.replace(
            common,
            bootstrap=broker.scram,
            security_protocol="SASL_SSL",
            sasl_mechanism="SCRAM-SHA-512",
            sasl_username=self.user,
            sasl_password="sesame",
        )
        self.mutual = with_certificate(
            dataclasses.replace(common, bootstrap=broker.mutual, security_protocol="SSL"),
            broker.certificates.issue(self.user),
        )
        self._open: list[Any] = [self.plain]

    def join(self, settings: KafkaSettings) -> KafkaMember:
        log = KafkaLog.open(settings)
        member = log.member(group=self.prefix + "group", identity=self.prefix + "one", topics=[self.source])
        self._open[:0] = [member, log]
        return member

    def close(self) -> None:
        for each in self._open:
            each.close()


@pytest.fixture
def scene(broker: SecuredBroker, topic_prefix: str) -> Iterator[Scene]:
    made = Scene(broker, topic_prefix)
    yield made
    made.close()


def with_certificate(settings: KafkaSettings, given: tuple[Path, Path]) -> KafkaSettings:
    return dataclasses.replace(settings, ssl_certfile=given[0], ssl_keyfile=given[1])


def refused(member: KafkaMember, outputs: list[Any]) -> NotAuthorised:
    """Work with *member*, over what may pass, until it is refused for good."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            batch = member.poll(timeout_s=0.3, max_records=1)
            member.commit(batch, outputs if batch.records else [])
        except (LogUnavailable, TransactionFailed):
            time.sleep(0.1)
        except NotAuthorised as error:
            return error
    raise AssertionError("not refused within 30 s")


@pytest.mark.parametrize("way", ["scram", "mutual"])
def test_a_member_works_with_password_or_certificate(scene: Scene, way: str) -> None:
    member = scene.join(getattr(scene, way))
    member.commit(next_batch(member), records(scene.out, b"A"))
    until(lambda: all_values(scene.plain, scene.out) == [b"A"])


def wrong_password(scene: Scene) -> KafkaSettings:
    return dataclasses.replace(scene.scram, sasl_password="simsim")


def broker_of_another_authority(scene: Scene) -> KafkaSettings:
    other = Certificates(scene.broker.folder, name=scene.prefix + "other")
    return dataclasses.replace(scene.scram, ssl_cafile=other.ca)


def expired_certificate(scene: Scene) -> KafkaSettings:
    given = scene.broker.certificates.issue(scene.user, days=0)
    time.sleep(1.5)
    return with_certificate(scene.mutual, given)


def certificate_of_another_authority(scene: Scene) -> KafkaSettings:
    other = Certificates(scene.broker.folder, name=scene.prefix + "other")
    return with_certificate(scene.mutual, other.issue(scene.user))


def no_certificate(scene: Scene) -> KafkaSettings:
    return dataclasses.replace(scene.mutual, ssl_certfile=None, ssl_keyfile=None)


WRONG = [
    wrong_password,
    broker_of_another_authority,
    expired_certificate,
    certificate_of_another_authority,
    no_certificate,
]


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_credentials_are_refused_at_the_start(scene: Scene, wrong: Callable[[Scene], KafkaSettings]) -> None:
    def refused() -> bool:
        try:
            KafkaLog.open(wrong(scene)).close()
        except NotAuthorised:
            return True
        except LogUnavailable:  # its first handshakes take longer than the 1.5 s they are given here
            return False
        raise AssertionError("let in")

    until(refused, within_s=60)


@pytest.mark.parametrize("kind", [ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID])
def test_rights_that_are_taken_away_stop_a_member(scene: Scene, kind: ResourceType) -> None:
    member = scene.join(scene.mutual)
    member.commit(next_batch(member, max_records=1), records(scene.out, b"A"))
    scene.broker.forbid(f"CN={scene.user}", scene.prefix, kind)
    assert "Authorization" in str(refused(member, records(scene.out, b"B")))
    assert all_values(scene.plain, scene.out) == [b"A"]


def test_a_brokers_certificate_that_expired_stops_an_idle_member(scene: Scene) -> None:
    """It is shown to the next connection only; all that the client tells of it is silence."""
    member = scene.join(scene.scram)
    member.commit(next_batch(member), [])
    good = scene.broker.folder / "good.pem"
    store = scene.broker.folder / "keystore.pem"
    shutil.copy(store, good)
    scene.broker.stop()
    scene.broker.use_certificate(*scene.broker.certificates.issue("broker", days=0))
    scene.broker.start()
    try:
        assert "CERTIFICATE" in str(refused(member, []))
    finally:
        scene.broker.stop()
        shutil.copy(good, store)
        scene.broker.start()


@pytest.mark.redis
def test_a_worker_whose_user_is_removed_ends_with_one_line_and_code_4(
    scene: Scene, redis: RedisServer, tmp_path: Path
) -> None:
    installation = Installation(tmp_path, kafka=scene.broker, redis=redis)
    assert installation.run("topics", "apply").returncode == 0
    own = installation.topics.prefix
    scene.broker.allow(scene.user, own)
    (tmp_path / "password").write_text("sesame", "utf-8")
    worker = installation.start(
        "enrich",
        environ={
            "DATELINE_KAFKA_BOOTSTRAP": scene.broker.scram,
            "DATELINE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "DATELINE_KAFKA_USER": scene.user,
            "DATELINE_KAFKA_PASSWORD_FILE": str(tmp_path / "password"),
            "DATELINE_KAFKA_CA_FILE": str(scene.broker.certificates.ca),
        },
    )
    try:
        with installation.log() as log:
            appender = log.appender()
            appender.append([raw_record(raw_article("a"), topic=installation.topics.raw)])
            appender.close()
        until(lambda: len(installation.read([installation.topics.enriched])) == 1, within_s=60)
        scene.broker.remove_user(scene.user)
        assert worker.wait(timeout=60) == ExitCode.NOT_AUTHORISED
    except subprocess.TimeoutExpired:
        worker.kill()
        raise
    said = "".join(path.read_text("utf-8") for path in tmp_path.glob("enrich-*.log"))
    lines = [line for line in said.splitlines() if '"worker.' in line and '"error"' in line]
    assert len(lines) == 1, said
    assert "Authentication failed" in lines[0]
    assert "sesame" not in said
