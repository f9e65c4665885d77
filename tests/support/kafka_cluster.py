"""Three Kafka nodes that keep three copies of everything, of which two must be there: what most people run."""

from __future__ import annotations

import base64
import uuid
from contextlib import closing

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from tests.support.services import KafkaBroker
from tests.support.waiting import until

NODES = 3
_COPIES = {
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
}


class KafkaCluster:
    """Nodes that vote and serve, each with data of its own; any of them may be killed, as long as two are there."""

    def __init__(self) -> None:
        self.nodes = tuple(KafkaBroker(own=True) for _ in range(NODES))
        self.bootstrap = ",".join(node.bootstrap for node in self.nodes)
        identity = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        voters = ",".join(f"{number}@127.0.0.1:{node.controller_port}" for number, node in enumerate(self.nodes, 1))
        for number, node in enumerate(self.nodes, 1):
            node.cluster_id = identity
            node.bootstrap = self.bootstrap
            node.properties |= {
                **_COPIES,
                "node.id": str(number),
                "controller.quorum.voters": voters,
                "controller.quorum.bootstrap.servers": "",
            }

    def start(self) -> None:
        """Start all nodes, none of which answers before another. Raises: ServiceUnavailable."""
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.await_answer()

    def remove(self) -> None:
        """End all nodes and delete their data."""
        for node in self.nodes:
            if node.runs():
                node.kill()  # the last ones could not stop in good order: they would wait for the others
            node.remove()

    def settle(self, *, within_s: float) -> None:
        """Wait until all copies are there again. Raises: AssertionError: not within *within_s*."""
        until(self._whole, within_s=within_s, every_s=0.5, what="all copies are there again")

    def _whole(self) -> bool:
        """Tell whether each partition has all its copies; False also while that cannot be asked."""
        try:
            with closing(KafkaAdminClient(bootstrap_servers=self.bootstrap, bootstrap_timeout_ms=2000)) as admin:
                topics = admin.describe_topics()
        except KafkaError:
            return False
        return all(len(part["isr_nodes"]) == NODES for topic in topics for part in topic["partitions"])
