"""Names of paths, messages and example fields of the systems that Decahertz grew from."""

from __future__ import annotations

from typing import Final

PATHS: Final = frozenset(
    """
    health health/live health/ready ping system/health system/performance system/components
    system/stats system/status collectors ledger metrics/current metrics/history metrics/summary
    metrics/catalogue instruments symbols trades trades/{id} trades/recent trades/stats performance
    orders orders/{id} orders/active/count open_orders orders/queue orders/templates fills
    executions execution/quality positions positions/summary positions/{symbol} pnl
    market/bars/{symbol} candles market/ticks/{symbol} market/quotes/{symbol} signals
    signals/generate risk risk/metrics risk/halt risk/resume regime regime/history sentiment/news
    news sentiment/series/{symbol} logs system/logs alerts alerts/{id}/acknowledge alerts/webhook
    analytics/daily/{symbol} analytics/orb/{symbol} analytics/volume-profile/{symbol} audit
    providers circuit-breakers data/{provider}/{symbol} background/warm-cache
    """.split()  # noqa: SIM905 - easier to read
)
MESSAGES: Final = frozenset(
    """
    tick quotes:{symbol} trade ticks:{symbol} bar bars:{symbol}:{timeframe}
    metrics:{collector}:{key} regime_change regime signal signals risk_update risk trade_execution
    fills order_submitted order_cancelled orders positions news news:{symbol} alerts logs connected
    snapshot update event ping pong
    """.split()  # noqa: SIM905 - easier to read
)
FIELDS: Final = {
    "position": "symbol, quantity, entry price, current price, unrealised P&L, realised P&L, total"
    " commission, last update, source",
    "positions summary": "total value, count",
    "P&L": "daily, weekly, monthly, total, unrealised, realised",
    "order submission": "symbol, execution type, strategy name, legs, quantity, limit price, priority, notes,"
    " order id, status, created at, message",
    "list of orders": "orders, count, count of open orders",
    "order": "order id, status, created at, message",
    "trade": "id, symbol, type, entry time, exit time, entry price, result in R, strategy used",
    "list of trades": "trades, offset, total",
    "performance": "window in trades, profit factor, expected R, win rate, its Wilson lower bound, total"
    " trades, wins, losses, average win in R, average loss in R",
    "system status": "state, current regime, active strategy, daily P&L in R, weekly P&L in R, current R,"
    " consecutive red days, can trade, reason",
    "health": "status, time, components, uptime, statistics of components",
    "risk": "time, total exposure, daily P&L, limits, tripwires, halt active",
    "tick": "instrument, bid, ask, timestamp",
    "daily statistics": "open, high, low, close, change",
    "opening range": "range, breakout, extension",
    "volume profile": "bins, point of control, value area",
    "news": "headline, publisher, symbols, sentiment",
    "sentiment series": "time, sentiment, count",
    "logs": "recent 1,000",
    "alerts": "name, severity, value, threshold",
    "data answer of a provider": "symbol, asset type, exchange, current price, currency, source, time,"
    " provider, response time, priority, budget checked",
    "provider": "scheduler, cache, budget, circuit breaker, adapters",
    "WebSocket statistics": "clients, messages, queue",
}
"""By thing; separated by commas."""
