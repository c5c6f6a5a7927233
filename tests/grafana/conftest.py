"""The dashboards and data sources as they are provisioned."""

from __future__ import annotations

import pytest

from grafana.preview.stack import ROOT, environment
from grafana.reader.dashboard import Dashboard
from grafana.reader.provisioning import DataSource, Provisioning, read_dashboards

DASHBOARDS = ROOT / "grafana" / "dashboards"
PROVISIONING = ROOT / "grafana" / "provisioning"


@pytest.fixture(scope="session")
def dashboards() -> dict[str, Dashboard]:
    """The shipped dashboards by file name."""
    found = read_dashboards(DASHBOARDS)
    assert found
    return found


@pytest.fixture(scope="session")
def sources() -> dict[str, DataSource]:
    """The data sources by uid, without an address to speak of."""
    settings = environment("http://127.0.0.1:9090", "postgresql://decahertz@127.0.0.1/decahertz", "secret")
    return Provisioning(PROVISIONING, settings).data_sources()
