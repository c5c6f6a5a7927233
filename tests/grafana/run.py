"""A run for Grafana: the demo, events that it lacks, a Prometheus, and a role that may only read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from decahertz_client import Client
from grafana.preview.stack import ROLE, environment, prometheus
from grafana.reader.dashboard import Dashboard, PrometheusTarget
from grafana.reader.intervals import TimeRange, resolve
from grafana.reader.prometheus import PrometheusSource
from grafana.reader.provisioning import Provisioning
from grafana.reader.view import Sources
from tests.grafana.conftest import DASHBOARDS, PROVISIONING
from tests.pipeline import running as pipeline
from tests.pipeline.running import RunningDecahertz, wait_until
from tests.servers import require

VENUE, STRATEGY = "desk", "by-hand"
ODD_INSTRUMENTS = ("EUR/USD", "BRK.B", "it's (odd)|+", "7203")
"""Names that a regular expression, PromQL, SQL or a format of numbers would misread."""
_SCRAPES = 20
"""One a second: the newest multiple of the 15 s step comes after several of them."""


@dataclass(frozen=True)
class Run:
    """The data sources of a run."""

    sources: Sources
    prometheus: PrometheusSource

    def range_of(self, dashboard: Dashboard) -> TimeRange:
        """The time range that a dashboard opens with."""
        now_ms = time.time_ns() // 10**6
        return TimeRange(resolve(dashboard.time.from_, now_ms), resolve(dashboard.time.to, now_ms))


@contextmanager
def running_for_grafana(folder: Path) -> Iterator[Run]:
    """Starts everything and waits until there is something of everything."""
    require("prometheus")
    env = pipeline.environment(
        folder,
        DECAHERTZ_ALERTS_FEED_STALE_SECONDS="2",
        DECAHERTZ_PROVIDERS_RECORDER_CALL_COST="1",
        DECAHERTZ_PROVIDERS_RECORDER_BUDGET_PER_DAY="1000",
        DECAHERTZ_PROVIDERS_RECORDER_WARM="BTC-USD",
        DECAHERTZ_PROVIDERS_WARM_SECONDS="0.5",
    )
    password = folder / "password"
    password.write_text("it's a secret")
    with ExitStack() as stack:
        decahertz = stack.enter_context(pipeline.running("--demo", env=env, log=folder / "log"))
        url = stack.enter_context(prometheus(folder, decahertz.metrics, "1s"))
        _emit(decahertz)
        granted = pipeline.run("db", "grant-read", ROLE, "--password-file", str(password), env=env)
        assert granted.returncode == 0, granted.stderr
        settings = dict(environment(url, decahertz.database, password.read_text()))
        settings["DECAHERTZ_GRAFANA_DASHBOARDS"] = str(DASHBOARDS)
        provisioning = Provisioning(PROVISIONING, settings)
        assert provisioning.dashboard_folders() == [str(DASHBOARDS)]
        sources = Sources(provisioning.data_sources())
        stack.callback(sources.close)
        source = sources.prometheus(sources.provisioned["decahertz-prometheus"])
        _await_data(decahertz, source)
        _emit_gap(decahertz)
        yield Run(sources, source)


def _emit(decahertz: RunningDecahertz) -> None:
    """Events that the demo does not have: odd names, gaps, rejected orders, limits, regimes, news, logs."""
    with Client(decahertz.api, source="desk") as client:
        for price, instrument in enumerate(ODD_INSTRUMENTS, start=1):
            client.quote(venue=VENUE, instrument=instrument, bid=price - 0.01, ask=price + 0.01)
            client.tick(venue=VENUE, instrument=instrument, price=price, size=2.0, side="buy")
            client.signal(
                strategy=STRATEGY, venue=VENUE, instrument=instrument, signal_id=f"s{price}", direction="buy"
            )
            for order, states in (("471", ("submitted", "rejected")), ("472", ("submitted", "accepted"))):
                for state in states:
                    client.order(
                        strategy=STRATEGY,
                        venue=VENUE,
                        instrument=instrument,
                        order_id=f"{order}{price}",
                        state=state,
                        side="buy",
                        quantity=1.0,
                        reason="price out of band" if state == "rejected" else None,
                    )
            client.log(component="desk", level="error", message=f"{instrument} is odd")
        client.risk(name="exposure", value=120.0, limit=100.0, strategy=STRATEGY, breached=True)
        client.risk(name="leverage", value=1.0, limit=3.0)
        client.regime(regime="trending", confidence=0.7)
        client.cash(strategy=STRATEGY, cash_id="funding-1", kind="funding", amount=-1.5, currency="CHF")
        client.gap(venue=VENUE, instrument=ODD_INSTRUMENTS[0], numbering="ticks", missing=2)
        client.news(headline="Markets open", publisher="desk", instruments=(ODD_INSTRUMENTS[0],))
        assert client.flush(10)


def _emit_gap(decahertz: RunningDecahertz) -> None:
    """A quote before which messages were missed, and its sample in the database."""
    with Client(decahertz.api, source="desk") as client:
        client.quote(venue=VENUE, instrument=ODD_INSTRUMENTS[0], bid=0.99, ask=1.01, missed=3)
        assert client.flush(10)
    where = f"collector=market&fields=gaps&tier=raw&venue={VENUE}&start={time.time_ns() - 60 * 10**9}"

    def is_stored() -> bool:
        series = decahertz.get(f"/api/v1/metrics/history?{where}")["series"]
        return any(3 in one["fields"]["gaps"] for one in series)

    wait_until("the sample with the gap", 10, is_stored)


def _await_data(decahertz: RunningDecahertz, source: PrometheusSource) -> None:
    def has_round_trips() -> bool:
        trades = decahertz.get("/api/v1/trades?limit=500")["items"]
        return len({trade["strategy"] for trade in trades}) == 3

    def has_alerts() -> bool:
        return len(decahertz.get("/api/v1/alerts?limit=5")["items"]) > 0

    def has_scrapes() -> bool:
        target = PrometheusTarget(ref_id="A", expr="count_over_time(up[5m])", instant=True)
        now_ms = time.time_ns() // 10**6
        frames = source.query(target, {}, TimeRange(now_ms - 1000, now_ms), 1000, 1)
        return bool(frames) and frames[0].fields[1].values[0] >= _SCRAPES

    wait_until("a round trip of each strategy of the demo", 45, has_round_trips)
    wait_until("an alert", 20, has_alerts)
    wait_until("scrapes of Prometheus", 30, has_scrapes)
