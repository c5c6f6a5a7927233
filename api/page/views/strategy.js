// One strategy: P&L, equity and drawdown over time, positions, statistics, round trips.

import { fill, h, panel, setText, tile } from "../dom.js";
import { Digits } from "../fills.js";
import { change, compact, duration, moment, number, segment } from "../formats.js";
import { History } from "../history.js";
import { RangedChart } from "../ranged.js";
import { poll } from "../rest.js";
import { address } from "../router.js";
import { STATISTICS } from "../statistics.js";
import { Table } from "../table.js";
import { averagePrice, tradeTable } from "../trades.js";
import { tone } from "./strategies.js";

const POLL_SECONDS = 2;
const LIMIT = 100;
const CURVES = {
  pnl: { title: "P&L", columns: [
    { name: "Realised and open", colour: "accent", fields: ["realised_pnl", "unrealised_pnl"], part: "last" },
    { name: "Realised", colour: "muted", dash: [4, 4], fields: ["realised_pnl"], part: "last" },
  ] },
  equity: { title: "Equity", columns: [{ name: "Equity", colour: "accent", fields: ["equity"], part: "last" }] },
  drawdown: { title: "Drawdown", columns: [{ name: "Drawdown", colour: "down", fields: ["drawdown"], part: "max" }] },
  exposure: { title: "Exposure", columns: [
    { name: "Gross", colour: "accent", fields: ["exposure"], part: "max" },
    { name: "Net", colour: "muted", dash: [4, 4], fields: ["net_exposure"], part: "last" },
  ] },
};

export class StrategyView {
  constructor({ store, connection, go, draw }) {
    Object.assign(this, { store, connection, go, draw });
    this.heading = h("strong", { class: "instrument" });
    this.regime = h("span", { class: "sides" });
    this.curves = Object.entries(CURVES).map(([name, { title }]) =>
      h("button", { type: "button", onclick: () => this.#show(name) }, title));
    this.stage = h("div", { class: "stage" });
    this.readout = h("div", { class: "readout" });
    this.tiles = { day: tile("Today"), week: tile("Week"), open: tile("Open P&L"), equity: tile("Equity") };
    this.statistics = STATISTICS.map(() => [h("dd"), h("small")]);
    const rows = STATISTICS.map(([name], index) => h("div", {}, h("dt", {}, name), ...this.statistics[index]));
    this.digits = new Digits();
    this.positions = this.#positionTable();
    this.trades = tradeTable(go, this.digits);
    this.element = h("div", { class: "split" },
      h("div", { class: "main" },
        h("div", { class: "tiles four" }, ...Object.values(this.tiles).map((one) => one.element)),
        h("section", { class: "panel chart-panel", "aria-label": "Chart" },
          h("div", { class: "headline" }, h("a", { class: "back", href: "#/strategies", title: "All strategies (Esc)" }, "‹"), this.heading, this.regime),
          this.stage),
        panel("Round trips", this.trades.element).element),
      h("div", { class: "side" },
        panel("Positions", this.positions.element).element,
        panel("Statistics", h("dl", { class: "figures three" }, ...rows)).element));
  }

  #positionTable() {
    return new Table({
      label: "Positions", key: (row) => `${row.venue}:${row.instrument}`, sort: "instrument", empty: "Flat.",
      open: (row) => this.go(address("market", [row.instrument], { venue: row.venue })),
      columns: [
        { name: "instrument", title: "Instrument", left: true, class: "name", value: (row) => row.instrument, text: (row) => row.instrument },
        { name: "quantity", title: "Quantity", text: (row) => compact(row.quantity), tone: (row) => tone(row.quantity) },
        { name: "entry", title: "Entry", text: (row) => averagePrice(this.digits, row, row.average_price) },
        { name: "open", title: "P&L", value: (row) => row.unrealised_pnl, text: (row) => change(row.unrealised_pnl), tone: (row) => tone(row.unrealised_pnl) },
      ],
    });
  }

  get topics() {
    return [`metrics:strategy:${segment(this.strategy)}`];
  }

  enter({ path, query }) {
    this.strategy = path.join("/");
    this.title = this.strategy;
    this.curve = query.get("curve") in CURVES ? query.get("curve") : "pnl";
    setText(this.heading, this.strategy);
    this.rows = [];
    this.held = [];
    this.#stage(query);
    const wanted = { strategy: this.strategy };
    this.polls = [
      poll("trades", { ...wanted, limit: LIMIT }, POLL_SECONDS, (body) => (this.rows = body.items)),
      poll("positions", wanted, POLL_SECONDS, (body) => (this.held = body.items)),
    ];
  }

  leave() {
    this.ranged?.close();
    for (const one of this.polls ?? []) one.stop();
  }

  restored() {
    this.ranged.reload();
  }

  recolour() {
    this.ranged?.chart.rebuild();
  }

  zoned() {
    this.ranged?.chart.rebuild();
  }

  escape() {
    this.go(address("strategies"));
  }

  key(key) {
    return this.ranged.key(key);
  }

  filter(text) {
    this.trades.filter(text);
  }

  focus() {
    this.trades.element.focus();
  }

  #stage(query) {
    this.ranged?.close();
    const { columns, title } = CURVES[this.curve];
    this.history = new History({ collector: "strategy", key: { strategy: this.strategy, recorder: this.connection.recorder }, columns });
    this.ranged = new RangedChart({
      now: () => this.store.lastCycle || this.connection.now(),
      draw: this.draw,
      load: (from, to, points, signal) => this.history.load(from, to, points, signal),
      trim: (before) => this.history.trim(before),
      data: () => this.history.data,
      note: () => this.#note(),
      settled: () => history.replaceState(null, "", this.#address()),
      chart: {
        label: `${title} of ${this.strategy}`,
        series: columns.map(({ name, colour, dash }) => ({ name, colour, dash, step: true })),
        hovered: (index, plot) => this.#hover(index, plot),
      },
    });
    Object.keys(CURVES).forEach((name, index) => this.curves[index].setAttribute("aria-pressed", name === this.curve));
    this.ranged.toolbar.prepend(h("div", { class: "buttons" }, ...this.curves));
    this.legend = columns.map(({ name, dash }) => `${dash ? "┅" : "━"} ${name}`).join(" · ");
    setText(this.readout, this.legend);
    fill(this.stage, this.ranged.element, this.readout);
    this.ranged.open(query);
  }

  #show(curve) {
    this.curve = curve;
    const to = this.#address();
    history.replaceState(null, "", to);
    this.#stage(new URLSearchParams(to.split("?")[1] ?? ""));
  }

  #address() {
    return address("strategies", [this.strategy], { ...this.ranged.parameters, curve: this.curve === "pnl" ? "" : this.curve });
  }

  #note() {
    const { tier, step } = this.history;
    return !tier ? "…" : step === null ? "every cycle (raw)" : `buckets of ${duration(step / 1000)} (${tier})`;
  }

  #hover(index, plot) {
    if (index === null || index === undefined) return setText(this.readout, this.legend);
    const values = CURVES[this.curve].columns.map(({ name }, at) => `${name} ${change(plot.data[at + 1][index])}`);
    return setText(this.readout, [moment(plot.data[0][index]), ...values].join(" · "));
  }

  update(entry) {
    if (entry.data.strategy !== this.strategy || !entry.topic.startsWith("metrics:strategy:")) return;
    this.history.append(entry.time, entry.data);
  }

  render(now) {
    this.ranged.render();
    this.trades.render(this.rows, now);
    this.positions.render(this.held, now);
    const entry = this.store.entries("strategy").get(`metrics:strategy:${segment(this.strategy)}`);
    if (entry === undefined) return;
    const { data } = entry;
    const { day, week, open, equity } = this.tiles;
    day.set(change(data.daily_pnl), "realised, UTC day", tone(data.daily_pnl));
    week.set(change(data.weekly_pnl), "realised, from Monday", tone(data.weekly_pnl));
    open.set(change(data.unrealised_pnl), data.unrealised_pnl === null ? "a mark price is missing" : `${number(data.open_positions)} positions · ${compact(data.exposure)} gross`, tone(data.unrealised_pnl));
    equity.set(number(data.equity, 2), data.equity === null ? "the strategy reports none" : `drawdown ${number(data.drawdown, 2)}`);
    STATISTICS.forEach(([, text, count, reason], index) => {
      const [value, note] = this.statistics[index];
      const shown = text(data);
      setText(value, shown ?? "–");
      setText(note, shown === null ? reason(data) : count(data));
    });
  }
}
