"""Helm and the value sets under helm/dateline/ci for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import helm as support
from tests.support.helm import CHART, Helm
from tests.support.services import ServiceUnavailable


@pytest.fixture(scope="session")
def _helm_or_reason(tmp_path_factory: pytest.TempPathFactory) -> Helm | str:
    try:
        return Helm(support.program(), tmp_path_factory.mktemp("helm"))
    except ServiceUnavailable as error:
        return str(error)


@pytest.fixture
def helm(_helm_or_reason: Helm | str) -> Helm:
    """Return a helm that renders the chart."""
    if isinstance(_helm_or_reason, str):
        pytest.skip(f"need {_helm_or_reason}")
    return _helm_or_reason


@pytest.fixture(params=sorted((CHART / "ci").glob("*-values.yaml")), ids=lambda path: path.name.split("-values")[0])
def value_set(request: pytest.FixtureRequest) -> Path:
    """Return each of the value sets in turn."""
    path: Path = request.param
    return path
