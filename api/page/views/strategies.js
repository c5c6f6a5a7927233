// All strategies, live.

import { h, panel } from "../dom.js";
import { Digits } from "../fills.js";
import { change, compact, number, percent, seconds } from "../formats.js";
import { poll } from "../rest.js";
import { address } from "../router.js";
import { Sparkline } from "../sparkline.js";
import { Table } from "../table.js";
import { colours } from "../theme.js";
import { tradeTable } from "../trades.js";

const LIMIT = 200;
const POLL_SECONDS = 2;
const SPARK = { width: 110, height: 22, points: 300 };

export const tone = (value) => (value > 0 ? "up" : value < 0 ? "down" : "");
const field = (name) => (row) => row.data[name];
const money = (name) => ({ value: field(name), text: (row) => change(row.data[name]), tone: (row) => tone(row.data[name]) });

export class StrategiesView {
  topics = ["metrics:strategy:*"];
  title = "Strategies";

  constructor({ store, go }) {
    this.store = store;
    this.colours = colours();
    this.table = new Table({
      label: "Strategies",
      key: (row) => row.topic,
      sort: "strategy",
      open: (row) => go(address("strategies", [row.data.strategy])),
      empty: "No strategy has reported yet. Send events with decahertz_client from your trading process.",
      search: (row) => row.data.strategy,
      columns: [
        { name: "strategy", title: "Strategy", left: true, class: "name", value: field("strategy"), text: field("strategy") },
        { name: "equity", title: "Equity", class: "mid", value: field("equity"), text: (row) => number(row.data.equity, 2) },
        { name: "day", title: "Today", ...money("daily_pnl") },
        { name: "week", title: "Week", class: "wide", ...money("weekly_pnl") },
        { name: "open", title: "Open", ...money("unrealised_pnl") },
        { name: "spark", title: "Realised, 30 s", class: "chart mid", cell: (cell, row) => this.#spark(cell, row) },
        { name: "positions", title: "Positions", class: "mid", value: field("open_positions"), text: (row) => number(row.data.open_positions) },
        { name: "exposure", title: "Exposure", class: "wide", value: field("exposure"), text: (row) => compact(row.data.exposure) },
        { name: "drawdown", title: "Drawdown", class: "mid", value: field("drawdown"), text: (row) => number(row.data.drawdown, 2) },
        { name: "wins", title: "Win rate", help: "With its Wilson lower bound (95 %)", value: field("win_rate"),
          text: (row) => (row.data.win_rate === null ? "–" : `${percent(row.data.win_rate)} ≥ ${percent(row.data.win_rate_lower)}`) },
        { name: "factor", title: "Profit factor", class: "wide", value: field("profit_factor"), text: (row) => number(row.data.profit_factor, 2) },
        { name: "expectancy", title: "Expectancy", class: "wide", value: field("expectancy"), text: (row) => change(row.data.expectancy), tone: (row) => tone(row.data.expectancy) },
        { name: "trades", title: "Round trips", class: "wide", value: field("trades"), text: (row) => number(row.data.trades) },
        { name: "silent", title: "Silent", class: "mid", help: "Since the newest event of the strategy", value: field("silent_seconds"), text: (row) => seconds(row.data.silent_seconds) },
      ],
    });
    this.trades = tradeTable(go, new Digits(), { all: true });
    this.rows = [];
    const sections = [panel("Strategies", this.table.element), panel("Round trips", this.trades.element)];
    for (const { element } of sections) element.classList.add("wide-panel");
    this.element = h("div", { class: "grid tall" }, ...sections.map((one) => one.element));
  }

  #spark(cell, row) {
    if (cell.spark === undefined) cell.append((cell.spark = new Sparkline(SPARK.width, SPARK.height, SPARK.points)).canvas);
    cell.spark.draw(row.spark, this.colours.accent);
  }

  enter() {
    this.store.prefill("strategy");
    this.polled = poll("trades", { limit: LIMIT }, POLL_SECONDS, (body) => (this.rows = body.items));
  }

  leave() {
    this.polled.stop();
  }

  recolour() {
    this.colours = colours();
  }

  filter(text) {
    this.table.filter(text);
    this.trades.filter(text);
  }

  focus() {
    this.table.element.focus();
  }

  render(now) {
    this.table.render(this.store.entries("strategy").values(), now);
    this.trades.render(this.rows, now);
  }
}
