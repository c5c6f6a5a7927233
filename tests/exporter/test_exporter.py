from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import Iterator

import pytest
from aiohttp import ClientSession
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.registry import Collector
from structlog.testing import capture_logs

from decahertz.addresses import PortInUseError, UnsafeAddressError
from decahertz.bus import LocalBus, samples_topic
from decahertz.clock import NS_PER_SECOND
from decahertz.health import Health
from decahertz.sample import Sample
from decahertz.settings import SettingsError
from decahertz.testing import ManualClock
from exporter.exporter import SLICE_NS, Exporter
from exporter.exposition import Source
from exporter.negotiation import Format
from exporter.settings import ExporterSettings
from tests.exporter.conftest import Rig
from tests.exporter.parsing import families_in, series_in
from tests.exporter.samples import BOOK, RECORDER, HostSample, Series, Verdict, batch_of, book, expected

LABELS = frozenset({("recorder", RECORDER)})
BOOKS = (book("EUR/USD", mid=1.1, gaps=3, verdict=Verdict.LIVE), book('"odd"\\\n', crossed=True))


async def scrape(session: ClientSession, rig: Rig, form: Format = Format.TEXT) -> bytes:
    async with session.get(f"{rig.url}/metrics", headers={"Accept": form.value}) as response:
        assert response.status == 200
        return await response.read()


def samples_in(body: bytes, form: Format) -> Series:
    """Without self-metrics."""
    return {key: value for key, value in series_in(body, form).items() if key[0].startswith("decahertz_book")}


@pytest.mark.parametrize("form", tuple(Format))
async def test_a_scrape_shows_the_newest_samples_in_the_format_asked_for(
    rig: Rig, session: ClientSession, form: Format
) -> None:
    rig.publish(book("GONE", mid=9.0))
    rig.publish(*BOOKS)

    async with session.get(f"{rig.url}/metrics", headers={"Accept": form.value}) as response:
        body = await response.read()

    assert response.headers["Content-Type"] == form.value
    assert samples_in(body, form) == expected(BOOKS, form=form)
    assert body.endswith(b"\n# EOF\n") is (form is Format.OPENMETRICS)


async def test_values_follow_from_scrape_to_scrape(rig: Rig, session: ClientSession) -> None:
    past: list[Sample] = []
    for mid in (1.1, None, 1.2):
        sample = book("EUR/USD", mid=mid)
        rig.publish(sample)
        assert samples_in(await scrape(session, rig), Format.TEXT) == expected([sample], past)
        past.append(sample)


async def test_all_collectors_are_shown_in_the_order_of_their_schemas(
    rig: Rig, session: ClientSession
) -> None:
    rig.publish(HostSample(host="a"))
    rig.publish(*BOOKS)

    names = [family.name for family in families_in(await scrape(session, rig), Format.TEXT)]

    assert names.index("decahertz_book_verdict") < names.index("decahertz_host_used_ratio")


@pytest.mark.parametrize("form", tuple(Format))
async def test_self_metrics_of_the_registry_and_the_process_follow(
    rig: Rig, session: ClientSession, form: Format
) -> None:
    Counter("decahertz_part_things", "Things.", registry=rig.registry).inc(2)
    waits = Histogram("decahertz_part_wait_seconds", "Waits.", unit="seconds", registry=rig.registry)
    waits.observe(0.5)
    rig.publish(*BOOKS)

    series = series_in(await scrape(session, rig, form), form)

    assert series["decahertz_part_things_total", LABELS] == 2
    assert series["decahertz_part_wait_seconds_sum", LABELS] == 0.5
    assert series["process_resident_memory_bytes", LABELS] > 1_000_000


async def test_a_self_metric_wins_over_a_sample_of_the_same_name(rig: Rig, session: ClientSession) -> None:
    Gauge("decahertz_book_depth", "Mine.", registry=rig.registry).set(5)
    rig.publish(book("EUR/USD", depth=9), *BOOKS[1:])

    series = samples_in(await scrape(session, rig), Format.TEXT)

    assert series.pop(("decahertz_book_depth", LABELS)) == 5
    assert series == expected([book("EUR/USD"), *BOOKS[1:]])


async def test_the_body_is_compressed_for_clients_that_accept_gzip(rig: Rig, session: ClientSession) -> None:
    rig.publish(*BOOKS)

    async with session.get(f"{rig.url}/metrics", headers={"Accept-Encoding": "gzip"}) as response:
        body = await response.read()

    assert response.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in response.headers["Vary"]
    assert samples_in(gzip.decompress(body), Format.TEXT) == expected(BOOKS)


async def test_the_body_is_plain_for_others(rig: Rig, session: ClientSession) -> None:
    async with session.get(f"{rig.url}/metrics", headers={"Accept-Encoding": "identity"}) as response:
        body = await response.read()

    assert "Content-Encoding" not in response.headers
    assert body.startswith(b"# HELP")


@pytest.mark.parametrize("rig", [{"max_keys": 20_000}], indirect=True)
async def test_a_body_of_many_megabytes_arrives_whole(rig: Rig, session: ClientSession) -> None:
    books = [book(f"I{number}", mid=number / 8, spread_bps=1.0, depth=1) for number in range(20_000)]
    rig.publish(*books)

    body = await scrape(session, rig)

    assert body.count(b"\ndecahertz_book_mid_price{") == 20_000


async def test_the_root_links_to_the_metrics(rig: Rig, session: ClientSession) -> None:
    async with session.get(rig.url) as response:
        assert response.content_type == "text/html"
        assert 'href="/metrics"' in await response.text()


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/other", 404), ("POST", "/metrics", 405)])
async def test_unknown_paths_and_methods_are_rejected(
    rig: Rig, session: ClientSession, method: str, path: str, status: int
) -> None:
    async with session.request(method, rig.url + path) as response:
        assert response.status == status


async def test_a_port_in_use_is_one_line_that_names_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        exporter = Exporter(
            LocalBus(), (), CollectorRegistry(), ExporterSettings(port=port), recorder=RECORDER
        )
        with pytest.raises(PortInUseError) as failure:
            await exporter.start()

    assert str(failure.value) == (
        f"exporter.port: {port} on 127.0.0.1 is in use by another program; stop it or set another port"
    )
    assert exporter.status().health is Health.FAILED
    await exporter.stop()


async def test_an_address_of_another_machine_is_one_line_that_names_the_setting() -> None:
    settings = ExporterSettings(host="192.0.2.1", port=0, private_network=True)
    exporter = Exporter(LocalBus(), (), CollectorRegistry(), settings, recorder=RECORDER)

    with pytest.raises(SettingsError, match=r"^exporter\.host: cannot listen on 192\.0\.2\.1: [^\n]+$"):
        await exporter.start()


async def test_it_stops_without_a_start_and_twice_and_then_refuses_connections(
    session: ClientSession,
) -> None:
    rig = Rig()
    await rig.exporter.stop()
    await rig.exporter.start()
    url = rig.url
    await scrape(session, rig)
    await rig.exporter.stop()
    await rig.exporter.stop()

    with pytest.raises(OSError, match="Cannot connect"):
        await session.get(url)


class Broken(Collector):
    """A part whose self-metrics cannot be read for a while."""

    broken = False

    def collect(self) -> Iterator[Metric]:
        if self.broken:
            raise RuntimeError("the part is away")
        return iter(())


async def test_a_part_that_fails_hides_nobody_else_and_is_logged_once_until_it_recovers(
    rig: Rig, session: ClientSession
) -> None:
    part = Broken()
    rig.registry.register(part)
    rig.publish(*BOOKS)
    with capture_logs() as logs:
        part.broken = True
        for _ in range(2):
            assert samples_in(await scrape(session, rig), Format.TEXT) == expected(BOOKS)
        failed = rig.exporter.status()
        part.broken = False
        series = series_in(await scrape(session, rig), Format.TEXT)

    assert [entry["event"] for entry in logs] == ["exposition_failed", "exposition_recovered"]
    assert (failed.health, failed.detail) == (Health.DEGRADED, "self-metrics: the part is away")
    assert rig.exporter.status().health is Health.OK
    assert series["decahertz_exporter_errors_total", LABELS] == 2


async def test_samples_that_do_not_keep_to_their_declaration_hide_nobody_else(
    rig: Rig, session: ClientSession
) -> None:
    wrong = batch_of(HostSample(host="a"))
    rig.publish(*BOOKS)

    with capture_logs() as logs:
        rig.bus.publish(samples_topic("host"), type(wrong)(wrong.schema, wrong.time_ns, (BOOKS[0],)))
        assert samples_in(await scrape(session, rig), Format.TEXT) == expected(BOOKS)
    assert rig.exporter.status().health is Health.DEGRADED
    assert [(entry["event"], entry["source"]) for entry in logs] == [("exposition_failed", "host")]


async def test_scrapes_are_counted_by_format(rig: Rig, session: ClientSession) -> None:
    for form in (Format.TEXT, Format.OPENMETRICS, Format.TEXT):
        await scrape(session, rig, form)

    counts = series_in(await scrape(session, rig), Format.TEXT)
    assert counts["decahertz_exporter_scrapes_total", LABELS | {("format", "text")}] == 2
    assert counts["decahertz_exporter_scrapes_total", LABELS | {("format", "openmetrics")}] == 1


class SlowMachine(ManualClock):
    """A clock on which a slice's time is over at every look."""

    def monotonic_ns(self) -> int:
        self.advance(SLICE_NS)
        return super().monotonic_ns()


async def test_the_event_loop_runs_between_the_slices_of_a_scrape() -> None:
    bus = LocalBus()
    exporter = Exporter(
        bus,
        [Source(BOOK)],
        CollectorRegistry(),
        ExporterSettings(port=0, max_keys=10_000),
        SlowMachine(),
        recorder=RECORDER,
    )
    books = [book(f"I{number}", mid=1.0, depth=2, verdict=Verdict.LIVE) for number in range(10_000)]
    bus.publish(samples_topic("book"), batch_of(*books))
    turns = 0
    chunk_at: list[int] = []
    render = exporter._exposition.render

    def watched(*arguments: object) -> Iterator[bytes]:
        for chunk in render(*arguments):  # type: ignore[arg-type] # passed on as they are
            chunk_at.append(turns)
            yield chunk

    exporter._exposition.render = watched  # type: ignore[assignment,method-assign] # to look in between

    async def spin() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    spinning = asyncio.create_task(spin())
    try:
        await exporter._render(Format.TEXT)
    finally:
        spinning.cancel()

    assert len(chunk_at) > 20
    assert len(set(chunk_at)) == len(chunk_at)


SERIES_NAMES = {
    "book": "decahertz_book_mid_price",
    "host": "decahertz_host_used_ratio",
}


async def test_a_collector_that_stops_or_fails_ends_its_series_and_no_other(
    rig: Rig, session: ClientSession
) -> None:
    async def shown() -> set[str]:
        names = {name for name, _ in series_in(await scrape(session, rig), Format.TEXT)}
        return {collector for collector, name in SERIES_NAMES.items() if name in names}

    rig.publish(book("EUR/USD", mid=1.1))
    rig.clock.advance(4 * NS_PER_SECOND)
    rig.publish(HostSample(host="a"))
    assert await shown() == {"book", "host"}
    rig.clock.advance(2 * NS_PER_SECOND)
    assert await shown() == {"host"}
    rig.publish(book("EUR/USD", mid=1.1))
    assert await shown() == {"book", "host"}


@pytest.mark.parametrize("rig", [{"max_keys": 2, "key_ttl_seconds": 60}], indirect=True)
async def test_keys_over_budget_are_counted_and_named_in_the_status(rig: Rig, session: ClientSession) -> None:
    def over(series: Series) -> list[float]:
        labels = LABELS | {("collector", "book")}
        names = ("keys_over_budget", "label_budget_exceeded_total")
        return [series[f"decahertz_exporter_{name}", labels] for name in names]

    rig.publish(*(book(name, mid=1.0, gaps=5) for name in "ABCD"))
    series = series_in(await scrape(session, rig), Format.TEXT)
    assert over(series) == [2, 2]
    assert rig.exporter.status().health is Health.DEGRADED
    assert "2 keys of book" in rig.exporter.status().detail

    rig.publish(*(book(name, mid=1.0, gaps=5) for name in "AB"))
    assert over(series_in(await scrape(session, rig), Format.TEXT)) == [0, 2]
    assert rig.exporter.status().health is Health.OK


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.7"])  # noqa: S104 - refused
async def test_an_address_that_others_can_reach_is_refused(host: str) -> None:
    settings = ExporterSettings(host=host, port=0)
    exporter = Exporter(LocalBus(), (), CollectorRegistry(), settings, recorder=RECORDER)
    with pytest.raises(UnsafeAddressError, match=r"^exporter\.host: .*exporter\.private_network"):
        await exporter.start()
    assert exporter.status().health is Health.FAILED
    await exporter.stop()


@pytest.mark.parametrize(
    "rig",
    [{"host": "0.0.0.0", "private_network": True, "host_names": ("recorder",)}],  # noqa: S104 - for a moment
    indirect=True,
)
async def test_on_a_private_network_it_listens_and_checks_the_host(rig: Rig, session: ClientSession) -> None:
    for host, status in (("recorder:9464", 200), ("10.0.0.7", 200), ("evil.example", 421), ("", 421)):
        async with session.get(f"{rig.url}/metrics", headers={"Host": host}) as response:
            assert response.status == status, host


async def test_a_head_that_does_not_arrive_closes_the_connection(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decahertz.http_server.HEAD_SECONDS", 0.2)
    for said in (b"", b"GET /metrics HT"):
        incoming, outgoing = await asyncio.open_connection("127.0.0.1", rig.exporter.port)
        outgoing.write(said)
        async with asyncio.timeout(20):
            assert await incoming.read() == b""
        outgoing.close()
