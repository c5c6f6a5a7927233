"""Market: prices, spread and volume of each chosen instrument."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model

from grafana.builder import style, variables
from grafana.builder.declared import metric
from grafana.builder.frame import Line, Section, address, dashboard
from grafana.builder.overrides import band, coloured, points
from grafana.builder.panels import About, PanelBuilder, bars, figure, lines, price_bars
from grafana.builder.queries import IN_RANGE, array, chosen, history, matching, prom, sql
from grafana.builder.tables import Cell

NAME = "market"
_CHOSEN = (chosen("recorder"), chosen("venue"), chosen("instrument"))
_LABELS = matching("recorder", "venue", "instrument")


def market() -> model.Dashboard:
    """The dashboard."""
    trading = (chosen("venue"), chosen("instrument"))
    return dashboard(
        NAME,
        "Market",
        "Prices, spread and volume of each chosen instrument.",
        [variables.recorder(), variables.venue(), variables.instrument(), _source()],
        [
            variables.fills(trading),
            variables.signals(trading),
            variables.alerts(),
            variables.gaps(trading),
        ],
        [
            Section(
                "$instrument",
                [
                    Line(3, [(4, panel) for panel in _figures()]),
                    Line(12, [(16, _bars()), (8, [(6, _spread()), (6, _volatility())])]),
                    Line(10, [(16, _mid()), (8, [(5, _volume()), (5, _imbalance())])]),
                ],
                repeat="instrument",
            ),
        ],
    )


def _source() -> build.CustomVariable:
    current = model.VariableOption(selected=True, text="Ticks", value="ticks")
    builder = (
        build.CustomVariable("bars")
        .label("Bars of")
        .values("Ticks : ticks, Quotes : quotes")
        .current(current)
    )
    return builder.description("Bars of the ticks, or of the mid price of the quotes.")


def _figures() -> list[PanelBuilder]:
    verdict = metric("market", "verdict")
    last, bid, ask = metric("market", "last"), metric("market", "bid"), metric("market", "ask")
    spread, volatility = metric("market", "spread_bps"), metric("market", "volatility")
    texts = style.texts(*((n, name, colour) for n, (name, colour) in enumerate(style.VERDICTS.items())))
    number = " or ".join(
        f"max({verdict.family}"
        f"{matching('recorder', 'venue', 'instrument', decahertz_market_verdict=name)} == 1) * {n}"
        for n, name in enumerate(style.VERDICTS)
    )
    return [
        figure(About("Last", last.help), last.display, prom(f"max({last.family}{_LABELS})")),
        figure(
            About("Bid", bid.help),
            bid.display,
            prom(f"max({bid.family}{_LABELS})"),
            colours=style.thresholds(base=style.BUY),
        ),
        figure(
            About("Ask", ask.help),
            ask.display,
            prom(f"min({ask.family}{_LABELS})"),
            colours=style.thresholds(base=style.SELL),
        ),
        figure(About("Spread", spread.help), spread.display, prom(f"max({spread.family}{_LABELS})")),
        figure(
            About("Volatility", volatility.help),
            volatility.display,
            prom(f"max({volatility.family}{_LABELS})"),
        ),
        figure(
            About(
                "Feed",
                verdict.help,
                address("feeds", "recorder", "venue", "instrument"),
                "Feed health, with the reason",
            ),
            style.PLAIN,
            prom(number),
            mappings=[texts],
            background=True,
            trend=False,
        ),
    ]


def _bars() -> PanelBuilder:
    arguments = ", ".join(map(array, ("recorder", "venue", "instrument")))
    query = sql(
        f"""
        SELECT time, open, high, low, close, volume, vwap
        FROM decahertz_bars($__timeFrom(), $__timeTo(), $__interval_ms, ${{bars:sqlstring}}, {arguments})
        ORDER BY time""",
        table=True,
    )
    about = About(
        "Price bars",
        "Open, high, low and close over the chosen venues, with volume and VWAP. Up to two hours they are"
        " made from single ticks; a longer range, and bars of quotes, from the samples at 10 Hz.",
    )
    name, colour = coloured("vwap", style.VWAP)
    volume = Cell(style.Display("short", 0)).properties()
    return price_bars(about, query).override_by_name(name, colour).override_by_name("volume", volume)


def _spread() -> PanelBuilder:
    spread = metric("market", "spread_bps")
    query = history(
        "market",
        {"mean": "avg(spread_bps_avg)", "min": "min(spread_bps_min)", "max": "max(spread_bps_max)"},
        keys=(),
        where=_CHOSEN,
    )
    about = About("Spread", f"{spread.help} The band spans the least and the greatest value of each step.")
    panel = lines(about, spread.display, query).override_by_name(*coloured("mean", style.BUY))
    return band(panel, "min", "max", style.BUY)


def _volatility() -> PanelBuilder:
    volatility = metric("market", "volatility")
    query = history("market", {"volatility": "avg(volatility)"}, keys=(), where=_CHOSEN)
    about = About("Realised volatility", volatility.help)
    panel = lines(about, volatility.display, query, minimum=0)
    return panel.override_by_name(*coloured("volatility", style.VWAP))


def _mid() -> PanelBuilder:
    mid, micro = metric("market", "mid"), metric("market", "micro_price")
    vwap, session = metric("market", "vwap"), metric("market", "session_vwap")
    query = history(
        "market",
        {
            "micro-price": "avg(micro_price_avg)",
            "mid": "avg(mid_avg)",
            "min": "min(mid_min)",
            "max": "max(mid_max)",
            "vwap": "avg(vwap)",
            "vwap of the day": "avg(session_vwap)",
        },
        keys=(),
        where=_CHOSEN,
    )
    fills = sql(
        f"""
        SELECT time, CASE WHEN side = 'buy' THEN price END AS bought,
            CASE WHEN side = 'sell' THEN price END AS sold
        FROM (
            SELECT time, side, price FROM fills WHERE {" AND ".join((IN_RANGE, *_CHOSEN))}
            ORDER BY time DESC LIMIT 500
        ) AS newest
        ORDER BY time""",
        ref="B",
    )
    about = About(
        "Mid, micro-price, VWAP and fills",
        f"Mid: {mid.help} The band spans the least and the greatest mid of each step. Micro-price:"
        f" {micro.help}"
        f" VWAP: {vwap.help} {session.help} Points are the newest 500 fills of the strategies.",
    )
    panel = lines(about, mid.display, query, fills).override_by_name(*coloured("mid", style.MID))
    panel = panel.override_by_name(*coloured("micro-price", style.MICRO))
    panel = panel.override_by_name(*coloured("vwap", style.VWAP))
    panel = panel.override_by_name(*coloured("vwap of the day", style.SESSION))
    panel = points(points(panel, "bought", style.BUY), "sold", style.SELL)
    return band(panel, "min", "max", style.MID)


def _volume() -> PanelBuilder:
    traded = metric("market", "traded")
    step = "$__interval_ms"
    query = sql(
        f"""
        SELECT decahertz_bucket(time, {step}) AS time, sum(increase) AS volume
        FROM (
            SELECT time, greatest(0, traded - lag(traded) OVER (
                PARTITION BY recorder, venue, instrument ORDER BY time)) AS increase
            FROM market_history
            WHERE tier = decahertz_tier($__timeFrom(), {step}) AND {" AND ".join((IN_RANGE, *_CHOSEN))}
        ) AS increases
        GROUP BY 1 ORDER BY 1"""
    )
    about = About("Volume", f"Quantity traded in each step, by the market. {traded.help}")
    panel = bars(about, traded.display, query).max_data_points(120)
    return panel.override_by_name(*coloured("volume", style.NEUTRAL))


def _imbalance() -> PanelBuilder:
    imbalance = metric("market", "imbalance")
    bid, ask = metric("market", "bid_size"), metric("market", "ask_size")
    query = history(
        "market",
        {
            "book": "avg((bid_size_avg - ask_size_avg) / nullif(bid_size_avg + ask_size_avg, 0))",
            "trades": "avg(imbalance_avg)",
        },
        keys=(),
        where=_CHOSEN,
    )
    about = About(
        "Imbalance",
        f"Trades: {imbalance.help} Book: bid size less ask size over their sum, which moves the micro-price"
        f" from the mid. {bid.help} {ask.help}",
    )
    panel = lines(about, imbalance.display, query, minimum=-1, maximum=1)
    return panel.override_by_name(*coloured("trades", style.BUY)).override_by_name(
        *coloured("book", style.NEUTRAL)
    )
