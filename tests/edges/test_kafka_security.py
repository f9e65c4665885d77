"""Credentials, certificates and rights: what works, what is refused at the start, and what is taken away meanwhile."""

from __future__ import annotations

import contextlib
import dataclasses
import selectors
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import ACLOperation, ResourceType

from tests.make import raw_article, raw_record
from tests.support.installation import ROOT, Installation
from tests.support.kafka_members import all_values, fill, next_batch, records, settings_for
from tests.support.secured_kafka import Certificates, SecuredBroker
from tests.support.services import RedisServer, ServiceUnavailable
from tests.support.waiting import until
from tests.support.web import item, rss
from worker.edges import kafka_clients
from worker.edges.kafka_log import KafkaLog
from worker.edges.kafka_member import KafkaMember
from worker.edges.kafka_settings import KafkaSettings
from worker.edges.kafka_topics import KafkaTopics
from worker.edges.process import ExitCode
from worker.ports import LogUnavailable, NotAuthorised, TopicSpec, TransactionFailed

pytestmark = pytest.mark.kafka


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


def test_the_documented_rights_suffice_to_end_what_a_dead_worker_has_left_open(scene: Scene) -> None:
    settings, group, dead = scene.scram, scene.prefix + "group", scene.prefix + "dead"
    next_batch(scene.join(settings))
    left: Any = kafka_clients.transactional_producer(settings, identity=dead, beat=lambda: None)
    left.begin_transaction()
    left.send(scene.out, b"x").get(timeout=10)
    kafka_clients.discard(left)
    with contextlib.closing(KafkaTopics(settings)) as topics:
        assert topics.static_members(group) == {scene.prefix + "one"}
        assert topics.in_transaction(dead)
        kafka_clients.end_transaction(settings, identity=dead, beat=lambda: None)
        assert not topics.in_transaction(dead)


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


def test_a_refusal_that_comes_with_the_end_of_the_connection_is_read(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P18: a client that wakes up late finds the answer and the hang-up together, and took it for a broker away."""
    select = selectors.EpollSelector.select

    def late(self: selectors.EpollSelector, timeout: float | None = None) -> Any:
        ready = select(self, timeout)
        time.sleep(0.2 if ready else 0)
        return ready

    monkeypatch.setattr(selectors.EpollSelector, "select", late)
    with pytest.raises(NotAuthorised, match="Authentication"):
        KafkaLog.open(dataclasses.replace(wrong_password(scene), connect_timeout_ms=5000))


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


class Roles:
    """Programs that run on the broker as users with what docs/operations.md gives them."""

    def __init__(self, scene: Scene, redis: RedisServer, folder: Path) -> None:
        self._scene = scene
        self._folder = folder
        self.installation = Installation(folder, kafka=scene.broker, redis=redis)
        self._rights = documented_rights()
        self.used: set[str] = set()

    def environ(self, role: str) -> dict[str, str]:
        """Return the settings of a new user with the rights of *role*."""
        self.used.add(role)
        prefix = self.installation.topics.prefix
        user = prefix + role.replace(" ", "-")
        self._scene.broker.add_user(user, "sesame")
        self._scene.broker.allow(user, prefix, self._rights[role])
        secret = self._folder / f"{user}.password"
        secret.write_text("sesame", "utf-8")
        return {
            "DATELINE_KAFKA_BOOTSTRAP": self._scene.broker.scram,
            "DATELINE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "DATELINE_KAFKA_USER": user,
            "DATELINE_KAFKA_PASSWORD_FILE": str(secret),
            "DATELINE_KAFKA_CA_FILE": str(self._scene.broker.certificates.ca),
        }

    def run(self, role: str, *command: str) -> subprocess.CompletedProcess[bytes]:
        """Run *command* to its end."""
        return self.installation.run(*command, environ=self.environ(role))


def documented_rights() -> dict[str, list[tuple[ResourceType, ACLOperation]]]:
    """Return what the table of docs/operations.md says, by program."""
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    table = text.partition("## Rights on the broker")[2].partition("|---|---|---|---|\n")[2].partition("\n\n")[0]
    kinds = (ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID)
    rights = {}
    for line in table.splitlines():
        program, *columns = (cell.strip() for cell in line.strip("|").split("|"))
        rights[program.replace("`", "")] = [
            (kind, OPERATIONS[name.strip()])
            for kind, names in zip(kinds, columns, strict=True)
            for name in names.split(",")
            if name.strip()
        ]
    return rights


OPERATIONS = {
    "Create": ACLOperation.CREATE,
    "Read": ACLOperation.READ,
    "Write": ACLOperation.WRITE,
    "Describe": ACLOperation.DESCRIBE,
}


@pytest.fixture
def roles(scene: Scene, redis: RedisServer, tmp_path: Path) -> Roles:
    return Roles(scene, redis, tmp_path)


@pytest.mark.redis
@pytest.mark.timeout(300)
def test_each_program_works_with_the_rights_that_the_docs_give_it(roles: Roles, scene: Scene, tmp_path: Path) -> None:
    """A story, a dead letter and its retry, with a user for each program."""
    installation = roles.installation
    topics = installation.topics
    applied = roles.run("topics apply", "topics", "apply")
    assert applied.returncode == 0, applied.stderr
    (tmp_path / "feed.xml").write_bytes(rss(item(1)))
    (tmp_path / "feeds.yaml").write_text(f"feeds: [{{id: a, url: 'file://{tmp_path}/feed.xml'}}]\n", "utf-8")
    polled = roles.run("poll", "poll", "--feeds", str(tmp_path / "feeds.yaml"), "--once")
    assert polled.returncode == 0, polled.stderr
    fill(scene.plain, topics.raw, b"not JSON")
    worker = installation.start("enrich", environ=roles.environ("enrich"))
    try:
        until(lambda: len(installation.read([topics.enriched, topics.dead_letter])) == 2, within_s=60)
        retried = roles.run("dead-letters retry", "dead-letters", "retry")
        assert retried.returncode == 0, retried.stderr
        until(lambda: len(installation.read([topics.dead_letter])) == 2, within_s=60)
    finally:
        worker.terminate()
        assert worker.wait(60) == ExitCode.OK
    audited = roles.run("audit", "audit")
    assert audited.returncode == 0, audited.stdout + audited.stderr
    tailed = roles.run("tail", "tail", "--from", "beginning", "--no-follow", "-n", "1")
    assert tailed.returncode == 0, tailed.stderr
    assert roles.used == documented_rights().keys()


@pytest.mark.redis
def test_a_right_less_is_refused_by_name(roles: Roles) -> None:
    roles._rights["topics apply"].remove((ResourceType.TOPIC, ACLOperation.CREATE))
    refused = roles.run("topics apply", "topics", "apply")
    assert refused.returncode == ExitCode.NOT_AUTHORISED
    assert b"TopicAuthorizationFailed" in refused.stderr, refused.stderr
