"""A Kafka node with TLS, SCRAM users, client certificates and ACLs; the tests administer it over plain text."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)
from kafka.admin import ACLResourcePatternType as PatternType

from tests.support.services import KafkaBroker, free_ports

RIGHTS = (
    (ResourceType.TOPIC, ACLOperation.READ),
    (ResourceType.TOPIC, ACLOperation.WRITE),
    (ResourceType.TOPIC, ACLOperation.DESCRIBE),
    (ResourceType.TOPIC, ACLOperation.DESCRIBE_CONFIGS),
    (ResourceType.GROUP, ACLOperation.READ),
    (ResourceType.TRANSACTIONAL_ID, ACLOperation.WRITE),
    (ResourceType.TRANSACTIONAL_ID, ACLOperation.DESCRIBE),
)
"""What a worker needs."""


class Certificates:
    """An authority in *folder*, and what it signs."""

    def __init__(self, folder: Path, *, name: str = "authority") -> None:
        self._folder = folder
        self.ca = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        self._openssl("req", "-x509", *_KEY, "-keyout", self._key, "-out", self.ca, "-subj", f"/CN={name}")

    def issue(self, name: str, *, days: int = 2) -> tuple[Path, Path]:
        """Return certificate and key of *name* at 127.0.0.1; with 0 days it has expired a second later."""
        key, request, certificate = (self._folder / f"{name}.{ending}" for ending in ("key", "csr", "crt"))
        extensions = self._folder / "extensions"
        extensions.write_text("subjectAltName=IP:127.0.0.1\n", "utf-8")
        self._openssl("req", *_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        signed = ("-CA", self.ca, "-CAkey", self._key, "-CAcreateserial", "-extfile", extensions, "-days", days)
        self._openssl("x509", "-req", "-in", request, *signed, "-out", certificate)
        return certificate, key

    def _openssl(self, *arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


_KEY = ("-newkey", "rsa:2048", "-nodes")


class SecuredBroker(KafkaBroker):
    """
    Its listeners: `scram` (SASL_SSL, SCRAM-SHA-512), `mutual` (SSL with client certificates), and plain text.

    Who comes over plain text may do everything; the others what `allow` gives them.
    """

    def __init__(self) -> None:
        super().__init__(own=True)
        self.certificates = Certificates(self.folder)
        scram, mutual = free_ports(2)
        self.scram, self.mutual = f"127.0.0.1:{scram}", f"127.0.0.1:{mutual}"
        protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", "SCRAM": "SASL_SSL", "MUTUAL": "SSL"}
        ports = {"PLAINTEXT": self.port, "CONTROLLER": self.controller_port, "SCRAM": scram, "MUTUAL": mutual}
        listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
        self.properties = {
            "listeners": listeners,
            "advertised.listeners": listeners,
            "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in protocols.items()),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.scram.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            # Who is connected proves anew after so long that it still may be.
            "listener.name.scram.scram-sha-512.connections.max.reauth.ms": "3000",
            "listener.name.mutual.ssl.client.auth": "required",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.use_certificate(*self.certificates.issue("broker"))),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.certificates.ca),
        }

    def use_certificate(self, certificate: Path, key: Path) -> Path:
        """Show *certificate* from the next start on; return the file it is read from."""
        store = self.folder / "keystore.pem"
        store.write_text(key.read_text("utf-8") + certificate.read_text("utf-8"), "utf-8")
        return store

    def admin(self) -> Any:
        return KafkaAdminClient(bootstrap_servers=self.bootstrap)

    def add_user(self, name: str, password: str) -> None:
        self._alter(UserScramCredentialUpsertion(name, ScramMechanism.SCRAM_SHA_512, password.encode()))

    def remove_user(self, name: str) -> None:
        self._alter(UserScramCredentialDeletion(name, ScramMechanism.SCRAM_SHA_512))

    def allow(self, user: str, prefix: str, rights: Iterable[tuple[ResourceType, ACLOperation]] = RIGHTS) -> None:
        """Give *user* these rights, those of a worker by default, on what begins with *prefix*."""
        admin = self.admin()
        admin.create_acls([_acl(ACL, user, kind, prefix, operation) for kind, operation in rights])
        admin.close()

    def forbid(self, user: str, prefix: str, kind: ResourceType) -> None:
        """Take from *user* all rights on what is of *kind*."""
        admin = self.admin()
        admin.delete_acls(
            [_acl(ACLFilter, user, each, prefix, operation) for each, operation in RIGHTS if each is kind]
        )
        admin.close()

    def _alter(self, change: object) -> None:
        admin = self.admin()
        said = admin.alter_user_scram_credentials([change])
        admin.close()
        assert not any(said.values()), said


def _acl(form: Any, user: str, kind: ResourceType, prefix: str, operation: ACLOperation) -> Any:
    return form(
        f"User:{user}", "*", operation, ACLPermissionType.ALLOW, ResourcePattern(kind, prefix, PatternType.PREFIXED)
    )
