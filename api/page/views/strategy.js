// One strategy: P&L, equity and drawdown over time, positions, statistics, round trips.

import { fill, h, panel, setClass, setText, setTitle, tile } from "../dom.js";
import { Digits } from "../fills.js";
import { change, compact, duration, fromNs, moment, number, plural, precise, recent, seconds, segment } from "../formats.js";
import { History } from "../history.js";
import { RangedChart } from "../ranged.js";
import { link, poll } from "../rest.js";
import { address } from "../router.js";
import { DAYS, STATISTICS, basisOf } from "../statistics.js";
import { Table } from "../table.js";
import { averagePrice, tradeTable } from "../trades.js";
import { tone } from "./strategies.js";

const POLL_SECONDS = 2;
const SLOW_SECONDS = 10;
const LIMIT = 100;
const MOST_TRIPS = 100_000;
/** Money of a strategy: name, text of a sample, and what stands next to it; a tone where something is missing. */
const MONEY = [
  ["Realised", (d) => change(d.realised_pnl), () => "after fees, account currency", (d) => tone(d.realised_pnl)],
  ["of it cash flows", (d) => change(d.cash_pnl), () => "funding, interest, dividends", (d) => tone(d.cash_pnl)],
  ["Transfers", (d) => change(d.transfers), () => "no result", () => ""],
  ["Net exposure", (d) => change(d.net_exposure, 0), (d) => (d.net_exposure === null ? "a mark price is missing" : `${compact(d.exposure)} gross`), () => ""],
  ["Oldest mark price", (d) => seconds(d.mark_age_seconds), (d) => (d.mark_age_seconds === null ? "no open position" : "of the open positions"), (d) => (d.mark_age_seconds > OLD_MARK_SECONDS ? "warn" : "")],
  ["No rate", (d) => number(d.unconverted_fills + d.unconverted_cash), (d) => `${number(d.unconverted_fills)} fills, ${number(d.unconverted_cash)} flows`, (d) => (d.unconverted_fills + d.unconverted_cash ? "bad" : "")],
  ["No definition", (d) => number(d.undefined_instruments), () => "counted one to one", (d) => (d.undefined_instruments ? "warn" : "")],
  ["Position breaks", (d) => number(d.position_breaks), () => "reports that differ from fills", (d) => (d.position_breaks ? "bad" : "")],
  ["Reported cash", (d) => (d.cash_difference === null ? "–" : d.cash_breaks ? `${change(d.cash_difference)} off` : "agrees"), (d) => (d.cash_difference === null ? "not reported, or not comparable" : "with fills and cash flows"), (d) => (d.cash_breaks ? "bad" : "")],
  ["Fills in doubt", (d) => number(d.conflicting_fills + d.misplaced_fills), (d) => `${number(d.duplicate_fills)} repeated, not counted`, (d) => (d.conflicting_fills + d.misplaced_fills ? "warn" : "")],
];
const OLD_MARK_SECONDS = 60;
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
    this.report = h("a", { class: "report", target: "_blank", rel: "noopener", title: "Tear sheet of this strategy: one page to save or print" }, "Report ↗");
    this.curves = Object.entries(CURVES).map(([name, { title }]) =>
      h("button", { type: "button", onclick: () => this.#show(name) }, title));
    this.stage = h("div", { class: "stage" });
    this.readout = h("div", { class: "readout" });
    this.tiles = { day: tile("Today"), week: tile("Week"), open: tile("Open P&L"), equity: tile("Equity") };
    this.statistics = STATISTICS.map(() => [h("dd"), h("small")]);
    const rows = STATISTICS.map(([name], index) => h("div", {}, h("dt", {}, name), ...this.statistics[index]));
    this.days = DAYS.map(() => [h("dd"), h("small")]);
    const dayRows = DAYS.map(([name], index) => h("div", {}, h("dt", {}, name), ...this.days[index]));
    this.money = MONEY.map(() => [h("dd"), h("small")]);
    const moneyRows = MONEY.map(([name], index) => h("div", {}, h("dt", {}, name), ...this.money[index]));
    this.digits = new Digits();
    this.positions = this.#positionTable();
    this.flows = flowTable();
    this.flowPanel = panel("Cash flows", this.flows.element);
    this.flowPanel.element.hidden = true;
    this.totals = totalTable();
    this.totalPanel = panel("Paid and received by currency", this.totals.element);
    this.totalPanel.element.hidden = true;
    this.trades = tradeTable(go, this.digits);
    this.element = h("div", { class: "split" },
      h("div", { class: "main" },
        h("div", { class: "tiles four" }, ...Object.values(this.tiles).map((one) => one.element)),
        h("section", { class: "panel chart-panel", "aria-label": "Chart" },
          h("div", { class: "headline" }, h("a", { class: "back", href: "#/strategies", title: "All strategies (Esc)" }, "‹"), this.heading, this.regime, this.report),
          this.stage),
        panel("Round trips", this.trades.element).element),
      h("div", { class: "side" },
        panel("Positions", this.positions.element).element,
        panel("Money", h("dl", { class: "figures three" }, ...moneyRows)).element,
        this.totalPanel.element,
        this.flowPanel.element,
        panel("Statistics of round trips", h("dl", { class: "figures three" }, ...rows)).element,
        panel("Statistics of days", h("dl", { class: "figures three" }, ...dayRows)).element));
  }

  #positionTable() {
    return new Table({
      label: "Positions", key: (row) => `${row.venue}:${row.instrument}`, sort: "instrument", empty: "Flat.",
      open: (row) => this.go(address("market", [row.instrument], { venue: row.venue })),
      columns: [
        { name: "instrument", title: "Instrument", left: true, class: "name", value: (row) => row.instrument, text: (row) => row.instrument,
          hint: (row) => `${row.venue}${row.account ? `, account ${row.account}` : ""}: ${row.multiplier === null ? "no definition, counted one to one" : `multiplier ${row.multiplier}`}` },
        { name: "quantity", title: "Quantity", text: (row) => compact(row.quantity), tone: (row) => tone(row.quantity) },
        { name: "entry", title: "Entry", text: (row) => averagePrice(this.digits, row, row.average_price) },
        { name: "currency", title: "in", class: "text", text: (row) => row.currency ?? (row.multiplier === null ? "undefined" : "–"), tone: (row) => (row.multiplier === null ? "warn" : "") },
        { name: "open", title: "P&L", value: (row) => row.unrealised_pnl, text: (row) => change(row.unrealised_pnl), tone: (row) => tone(row.unrealised_pnl),
          hint: (row) => row.reasons.unrealised_pnl ?? `worst ${change(row.mae)}, best ${change(row.mfe)} of this round trip` },
        { name: "r", title: "R", value: (row) => row.current_r, text: (row) => change(row.current_r), tone: (row) => tone(row.current_r), hint: (row) => row.reasons.current_r ?? "" },
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
    this.report.href = link("report", this.strategy);
    this.rows = [];
    this.held = [];
    this.cash = [];
    this.paid = [];
    this.daily = null;
    this.#stage(query);
    const wanted = { strategy: this.strategy };
    this.polls = [
      poll("trades", { ...wanted, limit: LIMIT }, POLL_SECONDS, (body) => (this.rows = body.items)),
      poll("positions", wanted, POLL_SECONDS, (body) => (this.held = body.items)),
      poll("cash", { ...wanted, limit: LIMIT }, SLOW_SECONDS, (body) => (this.cash = body.items)),
      poll("cash/totals", wanted, SLOW_SECONDS, (body) => (this.paid = body.items)),
      poll("performance", { ...wanted, window: MOST_TRIPS }, SLOW_SECONDS, (body) => (this.daily = body.strategies[0]?.figures.daily ?? null)),
      poll("system/status", {}, POLL_SECONDS, (body) => this.#status(body)),
    ];
  }

  #status({ strategies, regime }) {
    const found = strategies.find((one) => one.strategy === this.strategy);
    const shown = found?.regime ?? regime;
    setText(this.regime, shown ? `regime: ${shown}${found?.regime ? "" : " (desk)"}` : "");
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
    this.flowPanel.element.hidden = this.cash.length === 0;
    this.flows.render(this.cash, now);
    this.totalPanel.element.hidden = this.paid.length === 0;
    this.totals.render(this.paid, now);
    this.#days();
    const entry = this.store.entries("strategy").get(`metrics:strategy:${segment(this.strategy)}`);
    if (entry === undefined) return this.#clear();
    const { data } = entry;
    const { day, week, open, equity } = this.tiles;
    day.set(change(data.daily_pnl), "realised, UTC day", tone(data.daily_pnl));
    week.set(change(data.weekly_pnl), "realised, from Monday", tone(data.weekly_pnl));
    open.set(change(data.unrealised_pnl), data.unrealised_pnl === null ? "a mark price is missing" : `${plural(data.open_positions, "position")} · ${compact(data.exposure)} gross`, tone(data.unrealised_pnl));
    equity.set(number(data.equity, 2), data.equity === null ? "the strategy reports none" : `drawdown ${number(data.drawdown, 2)}`);
    STATISTICS.forEach(([, text, count, reason], index) => {
      const [value, note] = this.statistics[index];
      const shown = text(data);
      setText(value, shown ?? "–");
      setText(note, shown === null ? reason(data) : count(data));
    });
    MONEY.forEach(([, text, note, mark], index) => {
      const [value, small] = this.money[index];
      setText(value, text(data));
      setClass(value, mark(data));
      setText(small, note(data));
    });
  }

  #days() {
    DAYS.forEach(([, field, text], index) => {
      const [value, note] = this.days[index];
      const one = this.daily?.[field];
      setText(value, one ? (one.value === null ? "–" : text(one.value)) : "");
      const basis = one ? basisOf(one, text) : "";
      setText(note, basis);
      setTitle(note, basis);
    });
  }

  /** Nothing of the strategy shown before may stand under this name. */
  #clear() {
    for (const one of Object.values(this.tiles)) one.set("–");
    for (const [value, note] of [...this.statistics, ...this.money]) {
      setText(value, "");
      setText(note, "");
    }
  }
}

/** Fees and cash flows of all times, in their own currencies and in that of the account. */
function totalTable() {
  return new Table({
    label: "Paid and received by currency", key: (row) => `${row.account}|${row.kind}|${row.currency}`, sort: "kind",
    columns: [
      { name: "kind", title: "For", left: true, class: "text", value: (row) => row.kind, text: (row) => (row.kind === "fee" ? "fees" : row.kind) },
      { name: "n", title: "n", value: (row) => row.n, text: (row) => number(row.n) },
      { name: "amount", title: "Amount", value: (row) => row.amount, text: (row) => compact(row.amount), tone: (row) => tone(row.amount) },
      { name: "currency", title: "in", class: "text", text: (row) => row.currency ?? "account" },
      { name: "converted", title: "Converted", value: (row) => row.converted, text: (row) => change(row.converted), hint: (row) => row.reasons.converted ?? "at the rates of their times" },
    ],
  });
}

function flowTable() {
  return new Table({
    label: "Cash flows", key: (row) => `${row.account}|${row.cash_id}`, sort: "time", descending: true,
    columns: [
      { name: "time", title: "Time", class: "text", value: (row) => row.time_ns, text: (row, now) => recent(fromNs(row.time_ns), now) },
      { name: "kind", title: "Kind", left: true, class: "text", value: (row) => row.kind, text: (row) => row.kind, hint: (row) => row.reason ?? "" },
      { name: "amount", title: "Amount", value: (row) => row.amount, text: (row) => `${row.amount > 0 ? "+" : ""}${precise(row.amount, 2)}`, tone: (row) => tone(row.amount) },
      { name: "currency", title: "in", class: "text", text: (row) => row.currency ?? "–" },
      { name: "converted", title: "Converted", text: (row) => (row.currency === null ? change(row.amount) : row.rate === null ? "no rate" : change(row.amount * row.rate)) },
    ],
  });
}
