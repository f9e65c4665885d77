"""What a process under test says of itself at /metrics."""

from __future__ import annotations

import urllib.request

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families


def families(port: int, *, host: str = "127.0.0.1") -> list[Metric]:
    """Return all that the process on *port* counts. Raises: OSError."""
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=30) as answer:
        return list(text_string_to_metric_families(answer.read().decode()))


def metric(port: int, name: str, **labels: str) -> float:
    """Return the sum of the samples of *name* that have these labels. Raises: OSError."""
    return sum(
        sample.value
        for family in families(port)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
