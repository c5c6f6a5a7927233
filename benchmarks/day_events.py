"""The events of :mod:`benchmarks.day`: orders, fills, trades and what else strategies report."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

INSTRUMENTS, STRATEGIES = 100, 10
RECORDER, VENUE = "bench", "sim"
_TICK_HOURS = 2
"""Longer bars are not made from ticks."""
_DESK = {
    "strategy": f"'s' || n % {STRATEGIES}",
    "venue": "'sim'",
    "instrument": f"'I' || lpad((n * 7 % {INSTRUMENTS})::text, 2, '0')",
}
_ORDER = {
    **_DESK,
    "order_id": "'o' || n",
    "side": "CASE n % 2 WHEN 0 THEN 'buy' ELSE 'sell' END",
    "quantity": "1 + n % 9",
    "price": "100 + n % 10",
    "arrival_price": "100 + n % 10",
    "order_type": "'limit'",
}
_REASON = "CASE WHEN n % 20 = 0 THEN 'refused: limit ' || n % 3 END"


def event_statements(start: datetime, end: datetime) -> Iterator[str]:
    """The statements that fill the event tables from start to end."""
    late = max(start, end - timedelta(hours=_TICK_HOURS))
    instrument = "'I' || lpad((n % 100)::text, 2, '0')"
    tick = {
        "venue": "'sim'",
        "instrument": instrument,
        "price": "100 + sin(n / 1e5)",
        "size": "1 + n % 5",
        "missed": "0",
    }
    yield _insert("ticks", late, end, 0.005, {**tick, "side": "CASE n % 2 WHEN 0 THEN 'buy' ELSE 'sell' END"})
    yield _insert(
        "signals", start, end, 1, {**_DESK, "signal_id": "'g' || n", "direction": "'buy'", "price": "100.0"}
    )
    for state in ("submitted", "accepted", "filled"):
        final = f"CASE WHEN n % 20 = 0 THEN 'rejected' ELSE '{state}' END"
        yield _insert("order_events", start, end, 1, {**_ORDER, "state": final, "reason": _REASON})
    current = "CASE WHEN n % 20 = 0 THEN 'rejected' WHEN n % 1009 = 0 THEN 'accepted' ELSE 'filled' END"
    is_final = "n % 20 = 0 OR n % 1009 <> 0"
    created_ns = f"({int(start.timestamp())}000000000 + n * 1000000000)"
    created = {
        "created_ns": created_ns,
        "created_source": "'bench'",
        "created_epoch": "1",
        "created_sequence": "n",
    }
    order = {**_ORDER, **created, "state": current, "is_final": is_final, "reason": _REASON}
    yield _insert("orders", start, end, 1, order)
    price = {"side": _ORDER["side"], "quantity": _ORDER["quantity"], "price": _ORDER["price"]}
    yield _insert(
        "fills",
        start,
        end,
        1,
        {
            **_DESK,
            **price,
            "order_id": "'o' || n",
            "fill_id": "'f' || n",
            "fee": "0.1",
            "liquidity": "'maker'",
        },
    )
    yield _trades(start, end)
    yield _insert(
        "positions",
        start,
        end,
        1,
        {**_DESK, "quantity": "n % 7 - 3", "average_price": "100", "mark_price": "100.5", "held_by": "'bot'"},
    )
    yield _insert(
        "equity", start, end, 0.1, {"strategy": _DESK["strategy"], "equity": "1e6 + sin(n / 1e4) * 1e3"}
    )
    risk = {
        "strategy": _DESK["strategy"],
        "name": "'limit' || n % 3",
        "value": "50 + n % 60",
        "limit_value": "100",
    }
    yield _insert("risks", start, end, 1, {**risk, "breached": "n % 60 > 50"})
    yield _insert(
        "regimes",
        start,
        end,
        600,
        {"strategy": _DESK["strategy"], "regime": "'regime' || n % 3", "confidence": "0.5"},
    )
    yield _insert(
        "logs", start, end, 1, {"component": "'desk'", "level": "'info'", "message": "'line ' || n"}
    )
    yield _alerts(start, end)
    yield from _names(start, end)


def _insert(table: str, start: datetime, end: datetime, every_seconds: float, columns: dict[str, str]) -> str:
    """A row every so many seconds; n is its number, and ``at`` its time."""
    count = int((end - start).total_seconds() / every_seconds)
    ns = f"({int(start.timestamp())}000000000 + n * {int(every_seconds * 1e9)})"
    identity = {"time_ns": ns, "received_ns": ns, "source": "'bench'", "epoch": "1", "sequence": "n"}
    time = {"time": f"'{start.isoformat()}'::timestamptz + n * interval '{every_seconds} seconds'"}
    everything = {**time, "recorder": f"'{RECORDER}'", **columns, **identity}
    return _select(table, everything, count)


def _select(table: str, columns: dict[str, str], count: int) -> str:
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns.values())}"  # noqa: S608 - constants
        f" FROM generate_series(0::bigint, {count - 1}) AS n"
    )


def _trades(start: datetime, end: datetime) -> str:
    count = int((end - start).total_seconds()) // 2
    closed, opened = (f"({int(start.timestamp()) + shift}000000000 + n * 2000000000)" for shift in (1, 0))
    time = f"'{start.isoformat()}'::timestamptz + n * interval '2 seconds'"
    columns = {
        "time": f"{time} + interval '1 second'",
        "recorder": f"'{RECORDER}'",
        "trade_id": "'t' || n",
        **_DESK,
        "side": _ORDER["side"],
        "quantity": _ORDER["quantity"],
        "opened_at": time,
        "entry_price": "100",
        "exit_price": "100 + sin(n)",
        "fees": "0.2",
        "pnl": "10 * sin(n)",
        "risk": "10",
        "r_multiple": "sin(n)",
        "fills": "2",
        "opened_ns": opened,
        "closed_ns": closed,
        "closed_source": "'bench'",
        "closed_epoch": "1",
        "closed_sequence": "n",
        "closed_flat": "true",
    }
    return _select("trades", columns, count)


def _alerts(start: datetime, end: datetime) -> str:
    count = int((end - start).total_seconds()) // 300
    starts = f"({int(start.timestamp())}000000000 + n * 300000000000)"
    columns = {
        "time": f"'{start.isoformat()}'::timestamptz + n * interval '300 seconds'",
        "recorder": f"'{RECORDER}'",
        "id": "'a' || n",
        "fingerprint": "'f' || n % 10",
        "origin": "'watchdog'",
        "name": "'FeedStale'",
        "severity": "CASE n % 2 WHEN 0 THEN 'page' ELSE 'ticket' END",
        "state": "CASE WHEN n % 50 = 0 THEN 'firing' ELSE 'resolved' END",
        "labels": "jsonb_build_object('venue', 'sim')",
        "summary": "'sim is stale'",
        "description": "''",
        "runbook_url": "''",
        "starts_ns": starts,
        "ends_ns": f"CASE WHEN n % 50 = 0 THEN NULL ELSE {starts} + 60000000000 END",
        "updated_ns": starts,
        "reported_ns": starts,
        "value": "20",
        "threshold": "15",
    }
    return _select("alerts", columns, count)


def _names(start: datetime, end: datetime) -> Iterator[str]:
    first, last = (f"{int(time.timestamp())}000000000" for time in (start, end))
    columns = {
        "time": f"'{end.isoformat()}'::timestamptz",
        "venue": "'sim'",
        "instrument": "'I' || lpad(n::text, 2, '0')",
        "first_ns": first,
        "last_ns": last,
    }
    yield _select("instruments", columns, INSTRUMENTS)
    yield (
        "INSERT INTO recorders (time, recorder, holder, host, process_id, held_since, expires_at, session)"  # noqa: S608 - constants
        f" VALUES (now(), '{RECORDER}', gen_random_uuid(), 'host', 1, now(), now() + interval '1 day',"
        " gen_random_uuid())"
    )
