"""The reference of ``bench_api_list``: the same lists with FastAPI, uvicorn, asyncpg and pydantic.

Written as their documentation shows it: typed parameters, response models, one connection pool. It runs in a
process of its own: ``python -m benchmarks.rival_api DATABASE_URL PORT``.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import asyncpg
import uvicorn
from fastapi import FastAPI, Query
from pydantic import BaseModel

from storage.schema.excursions import NOT_YET

POOL_SIZE = 8
Limit = Annotated[int, Query(ge=1, le=1000)]


class Fill(BaseModel):
    """As in ``GET /api/v1/fills``."""

    recorder: str
    time_ns: int
    strategy: str
    venue: str
    instrument: str
    order_id: str
    fill_id: str
    side: str
    price: float
    quantity: float
    fee: float
    fee_currency: str | None
    liquidity: str | None
    risk: float | None
    kind: str
    account: str
    multiplier: float | None
    inverse: bool | None
    lot_size: float | None
    base_currency: str | None
    currency: str | None
    rate: float | None
    fee_rate: float | None
    stated_time_ns: int | None
    source: str
    epoch: int
    sequence: int
    received_ns: int


class Fills(BaseModel):
    """One page of fills."""

    items: list[Fill]


class Trade(BaseModel):
    """As in ``GET /api/v1/trades``."""

    trade_id: str
    strategy: str
    account: str
    venue: str
    instrument: str
    side: str
    quantity: float
    opened_ns: int
    closed_ns: int
    entry_price: float
    exit_price: float
    fees: float | None
    pnl: float | None
    currency: str | None
    settled_fees: float | None
    settled_pnl: float | None
    multiplier: float | None
    risk: float | None
    r_multiple: float | None
    reason: str | None
    fills: int
    recorder: str
    source: str
    regime: str | None
    held_seconds: float
    mae: float | None
    mfe: float | None
    mids: int
    excursion_reason: str | None


class Trades(BaseModel):
    """One page of round trips."""

    items: list[Trade]


class Series(BaseModel):
    """The history of one instrument, in columns."""

    time_ns: list[int]
    fields: dict[str, list[float | None]]


_DERIVED = {
    "source": "closed_source",
    "regime": """coalesce(
        (SELECT regime FROM regimes WHERE regimes.strategy = trades.strategy
         AND regimes.time_ns <= trades.opened_ns ORDER BY regimes.time_ns DESC LIMIT 1),
        (SELECT regime FROM regimes WHERE regimes.strategy IS NULL
         AND regimes.time_ns <= trades.opened_ns ORDER BY regimes.time_ns DESC LIMIT 1))""",
    "held_seconds": "(closed_ns - opened_ns) / 1e9::double precision",
    "excursion_reason": f"CASE WHEN excursion_due_ns IS NULL THEN excursion_reason ELSE '{NOT_YET}' END",
}
_TRADES = f"""
SELECT {", ".join(f"{_DERIVED.get(name, name)} AS {name}" for name in Trade.model_fields)} FROM trades
ORDER BY closed_ns DESC, closed_source DESC, closed_epoch DESC, closed_sequence DESC LIMIT $1
"""  # noqa: S608 - names of this module


def application(database_url: str) -> FastAPI:
    """Makes the application."""
    pools: list[asyncpg.Pool[asyncpg.Record]] = []

    @asynccontextmanager
    async def pool(_: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(database_url, min_size=POOL_SIZE, max_size=POOL_SIZE) as opened:
            pools.append(opened)
            yield

    app = FastAPI(lifespan=pool)

    @app.get("/api/v1/fills")
    async def fills(limit: Limit = 100) -> Fills:
        rows = await pools[0].fetch(
            "SELECT * FROM fills ORDER BY time_ns DESC, source DESC, epoch DESC, sequence DESC LIMIT $1",
            limit,
        )
        return Fills(items=[Fill(**row) for row in rows])

    @app.get("/api/v1/trades")
    async def trades(limit: Limit = 100) -> Trades:
        rows = await pools[0].fetch(_TRADES, limit)
        return Trades(items=[Trade(**row) for row in rows])

    @app.get("/api/v1/metrics/history")
    async def history(instrument: str, start: int, end: int) -> Series:
        rows = await pools[0].fetch(
            "SELECT (extract(epoch FROM time) * 1000000000)::bigint AS time_ns, mid, spread_bps"
            " FROM market_samples WHERE instrument = $1"
            " AND time >= to_timestamp($2::bigint / 1e9) AND time < to_timestamp($3::bigint / 1e9)"
            " ORDER BY time",
            instrument,
            start,
            end,
        )
        return Series(
            time_ns=[row["time_ns"] for row in rows],
            fields={name: [row[name] for row in rows] for name in ("mid", "spread_bps")},
        )

    return app


if __name__ == "__main__":
    uvicorn.run(
        application(sys.argv[1]),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )
