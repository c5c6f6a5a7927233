# ruff: noqa: A002, PLR0913 - the parameters of the routes
"""Methods of :class:`~decahertz_client.Reader`, one for each route that reads.

Written by ``scripts/derive.py`` from the routes of the API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decahertz_client._pages import Pages
from decahertz_client._rest import Session, Time, Values, quoted

if TYPE_CHECKING:
    from decahertz_client.records import (
        Alert,
        AlertOrigin,
        AlertState,
        AuditEntry,
        Bar,
        CallPriority,
        CashKind,
        CashTotals,
        Catalogue,
        Components,
        CurrentList,
        DeskStatus,
        Direction,
        ExecutionReport,
        GeneratorList,
        HaltList,
        HealthReport,
        InstrumentFeeds,
        InstrumentPosition,
        Instruments,
        Job,
        LedgerReport,
        ListedState,
        LiveStatistics,
        LogLevel,
        MachineHealth,
        MetricsSummary,
        OpeningRanges,
        OrderCount,
        OrderDetail,
        Performance,
        Plugins,
        PnlReport,
        PositionList,
        PositionSource,
        PositionSummary,
        ProviderData,
        ProviderList,
        ProviderStatus,
        RequestState,
        RiskReport,
        RoundTripReport,
        SentimentSeries,
        ServerTime,
        SessionInfo,
        Side,
        StoredCash,
        StoredFill,
        StoredGap,
        StoredLog,
        StoredNews,
        StoredOrder,
        StoredQuote,
        StoredRegime,
        StoredRequest,
        StoredRisk,
        StoredRoundTrip,
        StoredSignal,
        StoredTick,
        SystemPerformance,
        Template,
        TemplateList,
        TemplateVersions,
        TradeStatistics,
        TradingDay,
        TradingState,
        Verdict,
        VolumeProfileReport,
    )


class Routes:
    """The routes that read; a method has the name of its operation in the OpenAPI document."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def alerts(
        self,
        *,
        recorder: str | None = None,
        name: str | None = None,
        severity: str | None = None,
        state: AlertState | None = None,
        origin: AlertOrigin | None = None,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
    ) -> Pages[Alert]:
        """Returns alerts of the watchdog and of Prometheus, the last started first."""
        return Pages(
            self._session,
            "/api/v1/alerts",
            {
                "recorder": recorder,
                "name": name,
                "severity": severity,
                "state": state,
                "origin": origin,
                "start": start,
                "end": end,
            },
            limit,
            1000,
            "Alert",
        )

    def alert(self, id: str) -> Alert:
        """Returns one alert. One that fires is found while the database is away, too."""
        answer: Alert = self._session.get(f"/api/v1/alerts/{quoted(id)}", {})
        return answer

    def analytics_daily(
        self,
        instrument: str,
        *,
        venue: Values | None = None,
        recorder: str | None = None,
        timezone: str | None = None,
        day_start: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
    ) -> Pages[TradingDay]:
        """Returns statistics of trading days, made from ticks; newest day first."""
        return Pages(
            self._session,
            f"/api/v1/analytics/daily/{quoted(instrument)}",
            {
                "venue": venue,
                "recorder": recorder,
                "timezone": timezone,
                "day_start": day_start,
                "start": start,
                "end": end,
            },
            limit,
            366,
            "TradingDay",
        )

    def analytics_orb(
        self,
        instrument: str,
        *,
        venue: Values | None = None,
        recorder: str | None = None,
        timezone: str | None = None,
        session_start: str | None = None,
        session_length: str | None = None,
        range: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
    ) -> OpeningRanges:
        """Returns opening range breakouts, made from ticks; newest session first."""
        answer: OpeningRanges = self._session.get(
            f"/api/v1/analytics/orb/{quoted(instrument)}",
            {
                "venue": venue,
                "recorder": recorder,
                "timezone": timezone,
                "session_start": session_start,
                "session_length": session_length,
                "range": range,
                "start": start,
                "end": end,
                "limit": limit,
            },
        )
        return answer

    def analytics_volume_profile(
        self,
        instrument: str,
        *,
        venue: Values | None = None,
        recorder: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        bins: int | None = None,
        bin_size: float | None = None,
        value_area: float | None = None,
    ) -> VolumeProfileReport:
        """Returns how much was traded at which price, with point of control and value area, made from
        ticks.
        """
        answer: VolumeProfileReport = self._session.get(
            f"/api/v1/analytics/volume-profile/{quoted(instrument)}",
            {
                "venue": venue,
                "recorder": recorder,
                "start": start,
                "end": end,
                "bins": bins,
                "bin_size": bin_size,
                "value_area": value_area,
            },
        )
        return answer

    def audit(
        self,
        *,
        recorder: str | None = None,
        actor: str | None = None,
        key_id: str | None = None,
        action: str | None = None,
        target: str | None = None,
        result: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
    ) -> Pages[AuditEntry]:
        """Returns who changed what through the API or with ``decahertz keys``, newest first."""
        return Pages(
            self._session,
            "/api/v1/audit",
            {
                "recorder": recorder,
                "actor": actor,
                "key_id": key_id,
                "action": action,
                "target": target,
                "result": result,
                "start": start,
                "end": end,
            },
            limit,
            1000,
            "AuditEntry",
        )

    def cash(
        self,
        *,
        recorder: str | None = None,
        source: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
        strategy: str | None = None,
        account: str | None = None,
        kind: CashKind | None = None,
        venue: str | None = None,
        instrument: str | None = None,
        cash_id: str | None = None,
    ) -> Pages[StoredCash]:
        """Returns cash flows that are not part of a fill, as often as they were reported, newest first."""
        return Pages(
            self._session,
            "/api/v1/cash",
            {
                "recorder": recorder,
                "source": source,
                "start": start,
                "end": end,
                "strategy": strategy,
                "account": account,
                "kind": kind,
                "venue": venue,
                "instrument": instrument,
                "cash_id": cash_id,
            },
            limit,
            1000,
            "StoredCash",
        )

    def cash_totals(
        self,
        *,
        recorder: str | None = None,
        strategy: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
    ) -> CashTotals:
        """Returns what was paid and received: fees, funding, interest, dividends, adjustments, transfers."""
        answer: CashTotals = self._session.get(
            "/api/v1/cash/totals", {"recorder": recorder, "strategy": strategy, "start": start, "end": end}
        )
        return answer

    def collectors(self) -> Plugins:
        """Returns the state, counters and last error of each collector and feed. Durations are in seconds."""
        answer: Plugins = self._session.get("/api/v1/collectors", {})
        return answer

    def provider_data(
        self, provider: str, symbol: str, *, timeout: str | None = None, priority: CallPriority | None = None
    ) -> ProviderData:
        """Returns the newest prices of a symbol: from the cache while they are fresh, else of a call."""
        answer: ProviderData = self._session.get(
            f"/api/v1/data/{quoted(provider)}/{quoted(symbol)}", {"timeout": timeout, "priority": priority}
        )
        return answer

    def execution_quality(
        self,
        *,
        strategy: str | None = None,
        venue: str | None = None,
        recorder: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
    ) -> ExecutionReport:
        """Returns order outcomes, latencies, costs and markouts by strategy and venue, each with its n."""
        answer: ExecutionReport = self._session.get(
            "/api/v1/execution/quality",
            {"strategy": strategy, "venue": venue, "recorder": recorder, "start": start, "end": end},
        )
        return answer

    def fills(
        self,
        *,
        recorder: str | None = None,
        source: str | None = None,
        strategy: str | None = None,
        account: str | None = None,
        venue: str | None = None,
        instrument: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
        order_id: str | None = None,
    ) -> Pages[StoredFill]:
        """Returns fills, newest first. ``next_cursor`` is null on the last page."""
        return Pages(
            self._session,
            "/api/v1/fills",
            {
                "recorder": recorder,
                "source": source,
                "strategy": strategy,
                "account": account,
                "venue": venue,
                "instrument": instrument,
                "start": start,
                "end": end,
                "order_id": order_id,
            },
            limit,
            1000,
            "StoredFill",
        )

    def health(self) -> HealthReport:
        """Returns the health of each component and the worst of them."""
        answer: HealthReport = self._session.get("/api/v1/health", {})
        return answer

    def instruments(self, *, venue: str | None = None, instrument: str | None = None) -> Instruments:
        """Returns the instruments seen in quotes or ticks, or defined, sorted by venue and instrument."""
        answer: Instruments = self._session.get(
            "/api/v1/instruments", {"venue": venue, "instrument": instrument}
        )
        return answer

    def background_job(self, job_id: str) -> Job:
        """Returns the progress of a job. The recorder remembers the last hundred, until it is restarted."""
        answer: Job = self._session.get(f"/api/v1/jobs/{quoted(job_id)}", {})
        return answer

    def ledger(self) -> LedgerReport:
        """Returns the account of each stream: ``emitted = stored + spooled + dropped``."""
        answer: LedgerReport = self._session.get("/api/v1/ledger", {})
        return answer

    def market_bars(
        self,
        instrument: str,
        *,
        timeframe: str | None = None,
        venue: Values | None = None,
        recorder: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
    ) -> Pages[Bar]:
        """Returns open, high, low, close, volume, number of ticks and VWAP, newest bar first."""
        return Pages(
            self._session,
            f"/api/v1/market/bars/{quoted(instrument)}",
            {"timeframe": timeframe, "venue": venue, "recorder": recorder, "start": start, "end": end},
            limit,
            5000,
            "Bar",
        )

    def market_feeds(
        self, *, venue: str | None = None, instrument: str | None = None, verdict: Verdict | None = None
    ) -> InstrumentFeeds:
        """Returns what each instrument's feed has delivered and the verdict on it, with its reason."""
        answer: InstrumentFeeds = self._session.get(
            "/api/v1/market/feeds", {"venue": venue, "instrument": instrument, "verdict": verdict}
        )
        return answer

    def market_gaps(
        self,
        *,
        recorder: str | None = None,
        source: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
        venue: str | None = None,
        instrument: str | None = None,
        numbering: str | None = None,
        recovered: bool | None = None,
    ) -> Pages[StoredGap]:
        """Returns the gap ledger, newest first: messages that were missed, by the numbers of the venue."""
        return Pages(
            self._session,
            "/api/v1/market/gaps",
            {
                "recorder": recorder,
                "source": source,
                "start": start,
                "end": end,
                "venue": venue,
                "instrument": instrument,
                "numbering": numbering,
                "recovered": recovered,
            },
            limit,
            1000,
            "StoredGap",
        )

    def market_quotes(
        self,
        instrument: str,
        *,
        recorder: str | None = None,
        source: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
        venue: str | None = None,
    ) -> Pages[StoredQuote]:
        """Returns best bids and asks of one instrument, newest first."""
        return Pages(
            self._session,
            f"/api/v1/market/quotes/{quoted(instrument)}",
            {"recorder": recorder, "source": source, "start": start, "end": end, "venue": venue},
            limit,
            1000,
            "StoredQuote",
        )

    def market_ticks(
        self,
        instrument: str,
        *,
        recorder: str | None = None,
        source: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
        venue: str | None = None,
        side: Side | None = None,
    ) -> Pages[StoredTick]:
        """Returns trades on the market in one instrument, newest first."""
        return Pages(
            self._session,
            f"/api/v1/market/ticks/{quoted(instrument)}",
            {
                "recorder": recorder,
                "source": source,
                "start": start,
                "end": end,
                "venue": venue,
                "side": side,
            },
            limit,
            1000,
            "StoredTick",
        )

    def metrics_catalogue(self) -> Catalogue:
        """Returns every metric of every running collector: its help, unit and names."""
        answer: Catalogue = self._session.get("/api/v1/metrics/catalogue", {})
        return answer

    def metrics_current(
        self, *, collector: Values | None = None, fields: Values | None = None, **key: Values
    ) -> CurrentList:
        """Returns the newest sample of every key."""
        answer: CurrentList = self._session.get(
            "/api/v1/metrics/current", {"collector": collector, "fields": fields, **key}
        )
        return answer

    def metrics_summary(self, *, collector: Values | None = None) -> MetricsSummary:
        """Returns for each metric the number of keys with a value, and their least, greatest, mean and
        sum.
        """
        answer: MetricsSummary = self._session.get("/api/v1/metrics/summary", {"collector": collector})
        return answer

    def orders(
        self,
        *,
        recorder: str | None = None,
        strategy: str | None = None,
        venue: str | None = None,
        instrument: str | None = None,
        account: str | None = None,
        source: str | None = None,
        order_id: str | None = None,
        signal_id: str | None = None,
        request_id: str | None = None,
        state: ListedState | None = None,
        is_final: bool | None = None,
        side: Side | None = None,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
    ) -> Pages[StoredOrder]:
        """Returns orders, and requests that have not become orders, in their current state, the newest
        first.
        """
        return Pages(
            self._session,
            "/api/v1/orders",
            {
                "recorder": recorder,
                "strategy": strategy,
                "venue": venue,
                "instrument": instrument,
                "account": account,
                "source": source,
                "order_id": order_id,
                "signal_id": signal_id,
                "request_id": request_id,
                "state": state,
                "is_final": is_final,
                "side": side,
                "start": start,
                "end": end,
            },
            limit,
            1000,
            "StoredOrder",
        )

    def active_orders_count(
        self,
        *,
        recorder: str | None = None,
        strategy: str | None = None,
        venue: str | None = None,
        instrument: str | None = None,
        account: str | None = None,
    ) -> OrderCount:
        """Returns the number of open orders: submitted, accepted, partially filled or unresolved."""
        answer: OrderCount = self._session.get(
            "/api/v1/orders/active/count",
            {
                "recorder": recorder,
                "strategy": strategy,
                "venue": venue,
                "instrument": instrument,
                "account": account,
            },
        )
        return answer

    def order_requests(
        self,
        *,
        recorder: str | None = None,
        strategy: str | None = None,
        venue: str | None = None,
        instrument: str | None = None,
        account: str | None = None,
        state: RequestState | None = None,
        is_final: bool | None = None,
        submitted_by: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
    ) -> Pages[StoredRequest]:
        """Returns order requests in their current state, the newest first."""
        return Pages(
            self._session,
            "/api/v1/orders/requests",
            {
                "recorder": recorder,
                "strategy": strategy,
                "venue": venue,
                "instrument": instrument,
                "account": account,
                "state": state,
                "is_final": is_final,
                "submitted_by": submitted_by,
                "start": start,
                "end": end,
            },
            limit,
            1000,
            "StoredRequest",
        )

    def order(
        self,
        order_id: str,
        *,
        recorder: str | None = None,
        strategy: str | None = None,
        venue: str | None = None,
        instrument: str | None = None,
        account: str | None = None,
    ) -> OrderDetail:
        """Returns one order with its changes, fills and request, and what it cost.

        The id of a request finds it.
        """
        answer: OrderDetail = self._session.get(
            f"/api/v1/orders/{quoted(order_id)}",
            {
                "recorder": recorder,
                "strategy": strategy,
                "venue": venue,
                "instrument": instrument,
                "account": account,
            },
        )
        return answer

    def performance(
        self,
        *,
        recorder: str | None = None,
        strategy: str | None = None,
        account: str | None = None,
        venue: str | None = None,
        instrument: str | None = None,
        regime: str | None = None,
        side: Side | None = None,
        start: Time | None = None,
        end: Time | None = None,
        window: int | None = None,
    ) -> Performance:
        """Returns statistics of the newest ``window`` round trips: all together, and of each strategy."""
        answer: Performance = self._session.get(
            "/api/v1/performance",
            {
                "recorder": recorder,
                "strategy": strategy,
                "account": account,
                "venue": venue,
                "instrument": instrument,
                "regime": regime,
                "side": side,
                "start": start,
                "end": end,
                "window": window,
            },
        )
        return answer

    def ping(self) -> ServerTime:
        """Returns the current time of the server."""
        answer: ServerTime = self._session.get("/api/v1/ping", {})
        return answer

    def pnl(self, *, strategy: str | None = None) -> PnlReport:
        """Returns realised P&L by day, week and month, and in total, and unrealised P&L, by strategy."""
        answer: PnlReport = self._session.get("/api/v1/pnl", {"strategy": strategy})
        return answer

    def positions(
        self,
        *,
        strategy: str | None = None,
        account: str | None = None,
        venue: str | None = None,
        instrument: str | None = None,
        held_by: PositionSource | None = None,
        flat: bool | None = None,
    ) -> PositionList:
        """Returns the positions of the strategies of this recorder, by strategy, venue and instrument."""
        answer: PositionList = self._session.get(
            "/api/v1/positions",
            {
                "strategy": strategy,
                "account": account,
                "venue": venue,
                "instrument": instrument,
                "held_by": held_by,
                "flat": flat,
            },
        )
        return answer

    def positions_summary(
        self,
        *,
        strategy: str | None = None,
        account: str | None = None,
        venue: str | None = None,
        instrument: str | None = None,
        held_by: PositionSource | None = None,
        flat: bool | None = None,
    ) -> PositionSummary:
        """Returns number, value and unrealised P&L of the open positions."""
        answer: PositionSummary = self._session.get(
            "/api/v1/positions/summary",
            {
                "strategy": strategy,
                "account": account,
                "venue": venue,
                "instrument": instrument,
                "held_by": held_by,
                "flat": flat,
            },
        )
        return answer

    def positions_instrument(
        self,
        instrument: str,
        *,
        strategy: str | None = None,
        account: str | None = None,
        venue: str | None = None,
    ) -> InstrumentPosition:
        """Returns the positions of all strategies in one instrument, flat ones included, and their sums."""
        answer: InstrumentPosition = self._session.get(
            f"/api/v1/positions/{quoted(instrument)}",
            {"strategy": strategy, "account": account, "venue": venue},
        )
        return answer

    def providers(self) -> ProviderList:
        """Returns the enabled providers, each with the state of all that stands in front of it."""
        answer: ProviderList = self._session.get("/api/v1/providers", {})
        return answer

    def provider(self, provider: str) -> ProviderStatus:
        """Returns one provider, with the costs of this day by API key if it has a budget."""
        answer: ProviderStatus = self._session.get(f"/api/v1/providers/{quoted(provider)}", {})
        return answer

    def regime(
        self,
        *,
        recorder: str | None = None,
        source: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
        regime: str | None = None,
        strategy: str | None = None,
    ) -> Pages[StoredRegime]:
        """Returns the market regimes that strategies, or the desk, assumed, newest first."""
        return Pages(
            self._session,
            "/api/v1/regime",
            {
                "recorder": recorder,
                "source": source,
                "start": start,
                "end": end,
                "regime": regime,
                "strategy": strategy,
            },
            limit,
            1000,
            "StoredRegime",
        )

    def portfolio_report(
        self, *, recorder: str | None = None, start: Time | None = None, end: Time | None = None
    ) -> str:
        """Returns the tear sheet of all strategies together as one HTML page without scripts."""
        answer: str = self._session.get("/api/v1/report", {"recorder": recorder, "start": start, "end": end})
        return answer

    def strategy_report(
        self,
        strategy: str,
        *,
        recorder: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
    ) -> str:
        """Returns the tear sheet of a strategy as one HTML page without scripts."""
        answer: str = self._session.get(
            f"/api/v1/report/{quoted(strategy)}", {"recorder": recorder, "start": start, "end": end}
        )
        return answer

    def risk(self) -> RiskReport:
        """Returns exposure, P&L in money and R, and every limit with its use, from live state."""
        answer: RiskReport = self._session.get("/api/v1/risk", {})
        return answer

    def can_trade(
        self,
        *,
        strategy: str | None = None,
        venue: str | None = None,
        instrument: str | None = None,
        known_ns: int | None = None,
        wait_seconds: float | None = None,
    ) -> TradingState:
        """Returns whether trading may go on, and everything that speaks against it."""
        answer: TradingState = self._session.get(
            "/api/v1/risk/can-trade",
            {
                "strategy": strategy,
                "venue": venue,
                "instrument": instrument,
                "known_ns": known_ns,
                "wait_seconds": wait_seconds,
            },
        )
        return answer

    def risk_events(
        self,
        *,
        recorder: str | None = None,
        source: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
        name: str | None = None,
        strategy: str | None = None,
        breached: bool | None = None,
    ) -> Pages[StoredRisk]:
        """Returns risk measures with their limits, newest first."""
        return Pages(
            self._session,
            "/api/v1/risk/events",
            {
                "recorder": recorder,
                "source": source,
                "start": start,
                "end": end,
                "name": name,
                "strategy": strategy,
                "breached": breached,
            },
            limit,
            1000,
            "StoredRisk",
        )

    def halts(self) -> HaltList:
        """Returns the halts that last. ``audit`` has those that have ended."""
        answer: HaltList = self._session.get("/api/v1/risk/halts", {})
        return answer

    def sentiment_news(
        self,
        *,
        recorder: str | None = None,
        source: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
        instrument: str | None = None,
        publisher: str | None = None,
    ) -> Pages[StoredNews]:
        """Returns headlines, newest first."""
        return Pages(
            self._session,
            "/api/v1/sentiment/news",
            {
                "recorder": recorder,
                "source": source,
                "start": start,
                "end": end,
                "instrument": instrument,
                "publisher": publisher,
            },
            limit,
            1000,
            "StoredNews",
        )

    def sentiment_series(
        self,
        instrument: str,
        *,
        start: Time | None = None,
        end: Time | None = None,
        step: str | None = None,
        window: str | None = None,
        half_life: str | None = None,
        publisher: str | None = None,
        recorder: str | None = None,
    ) -> SentimentSeries:
        """Returns the sentiment of an instrument: the mean of its headlines, of which newer ones weigh
        more.
        """
        answer: SentimentSeries = self._session.get(
            f"/api/v1/sentiment/series/{quoted(instrument)}",
            {
                "start": start,
                "end": end,
                "step": step,
                "window": window,
                "half_life": half_life,
                "publisher": publisher,
                "recorder": recorder,
            },
        )
        return answer

    def session(self) -> SessionInfo:
        """Returns whose key or session the request has.

        A browser page asks this to know whether to sign in.
        """
        answer: SessionInfo = self._session.get("/api/v1/session", {})
        return answer

    def signals(
        self,
        *,
        recorder: str | None = None,
        source: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
        strategy: str | None = None,
        venue: str | None = None,
        instrument: str | None = None,
        signal_id: str | None = None,
        direction: Direction | None = None,
    ) -> Pages[StoredSignal]:
        """Returns signals of strategies, newest first."""
        return Pages(
            self._session,
            "/api/v1/signals",
            {
                "recorder": recorder,
                "source": source,
                "start": start,
                "end": end,
                "strategy": strategy,
                "venue": venue,
                "instrument": instrument,
                "signal_id": signal_id,
                "direction": direction,
            },
            limit,
            1000,
            "StoredSignal",
        )

    def signal_generators(self) -> GeneratorList:
        """Returns the signal generators with their parameters, and the schedules of the settings."""
        answer: GeneratorList = self._session.get("/api/v1/signals/generators", {})
        return answer

    def system_components(self) -> Components:
        """Returns parts, collectors and feeds with their health and counters, and the worst health of all."""
        answer: Components = self._session.get("/api/v1/system/components", {})
        return answer

    def system_health(self) -> MachineHealth:
        """Returns processor, memory, disk, event loop and clock of the machine, and the alerts about them."""
        answer: MachineHealth = self._session.get("/api/v1/system/health", {})
        return answer

    def system_logs(
        self,
        *,
        recorder: str | None = None,
        source: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
        component: str | None = None,
        level: LogLevel | None = None,
    ) -> Pages[StoredLog]:
        """Returns log lines of the trading system's components, newest first."""
        return Pages(
            self._session,
            "/api/v1/system/logs",
            {
                "recorder": recorder,
                "source": source,
                "start": start,
                "end": end,
                "component": component,
                "level": level,
            },
            limit,
            1000,
            "StoredLog",
        )

    def system_performance(self) -> SystemPerformance:
        """Returns cycles and their lateness, rows and events, and the durations of requests and
        collectors.
        """
        answer: SystemPerformance = self._session.get("/api/v1/system/performance", {})
        return answer

    def system_stats(self) -> LiveStatistics:
        """Returns what each WebSocket client has subscribed to, and its queues, lag and conflation."""
        answer: LiveStatistics = self._session.get("/api/v1/system/stats", {})
        return answer

    def system_status(self) -> DeskStatus:
        """Returns regime, R by day and week, and what speaks against trading, from live state."""
        answer: DeskStatus = self._session.get("/api/v1/system/status", {})
        return answer

    def templates(self) -> TemplateList:
        """Returns all templates with their schedules and what became of the newest scheduled time."""
        answer: TemplateList = self._session.get("/api/v1/templates", {})
        return answer

    def template(self, template_id: str) -> Template:
        """Returns a template. Its ``ETag`` is the number of its version."""
        answer: Template = self._session.get(f"/api/v1/templates/{quoted(template_id)}", {})
        return answer

    def template_versions(self, template_id: str) -> TemplateVersions:
        """Returns the versions of a template, also of one that was deleted."""
        answer: TemplateVersions = self._session.get(f"/api/v1/templates/{quoted(template_id)}/versions", {})
        return answer

    def trades(
        self,
        *,
        recorder: str | None = None,
        source: str | None = None,
        strategy: str | None = None,
        account: str | None = None,
        venue: str | None = None,
        instrument: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
        regime: str | None = None,
    ) -> Pages[StoredRoundTrip]:
        """Returns closed round trips (flat to flat), derived from the fills, last closed first."""
        return Pages(
            self._session,
            "/api/v1/trades",
            {
                "recorder": recorder,
                "source": source,
                "strategy": strategy,
                "account": account,
                "venue": venue,
                "instrument": instrument,
                "start": start,
                "end": end,
                "regime": regime,
            },
            limit,
            1000,
            "StoredRoundTrip",
        )

    def recent_trades(self, *, limit: int | None = None) -> Pages[StoredRoundTrip]:
        """Returns the newest closed round trips of all strategies; ``next_cursor`` goes on with
        ``/trades``.
        """
        return Pages(self._session, "/api/v1/trades/recent", {}, limit, 1000, "StoredRoundTrip")

    def trades_stats(
        self,
        *,
        recorder: str | None = None,
        strategy: str | None = None,
        account: str | None = None,
        venue: str | None = None,
        instrument: str | None = None,
        regime: str | None = None,
        side: Side | None = None,
        start: Time | None = None,
        end: Time | None = None,
    ) -> TradeStatistics:
        """Returns counts, sums, means and ratios of the round trips that ``trades`` lists with the same
        filters.
        """
        answer: TradeStatistics = self._session.get(
            "/api/v1/trades/stats",
            {
                "recorder": recorder,
                "strategy": strategy,
                "account": account,
                "venue": venue,
                "instrument": instrument,
                "regime": regime,
                "side": side,
                "start": start,
                "end": end,
            },
        )
        return answer

    def trade(self, trade_id: str, *, recorder: str | None = None) -> RoundTripReport:
        """Returns one closed round trip, with its worst and best P&L while it was open, and what its
        orders cost.
        """
        answer: RoundTripReport = self._session.get(
            f"/api/v1/trades/{quoted(trade_id)}", {"recorder": recorder}
        )
        return answer
