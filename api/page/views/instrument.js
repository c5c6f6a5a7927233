// One instrument: chart of mid and spread or candles, with fills and signals on it.

import { Bars, TIMEFRAMES, timeframe } from "../bars.js";
import { drawCandles, drawMarks } from "../charts.js";
import { fill, h, panel, setClass, setText } from "../dom.js";
import { gapTable } from "../gaps.js";
import { change, clock, compact, decimals, duration, fromNs, milliseconds, number, percent, recent, seconds, segment, stamp } from "../formats.js";
import { History } from "../history.js";
import { RangedChart } from "../ranged.js";
import { get, poll } from "../rest.js";
import { address } from "../router.js";
import { Recent } from "../series.js";
import { Table } from "../table.js";
import { verdictReason, verdictTone } from "./market.js";

const MOST_MARKS = 500;
const MOST_GAPS = 50;
const GAP_SECONDS = 5;
const NEAR_PIXELS = 12;
const COLUMNS = [
  { fields: ["ask"], part: "max" },
  { fields: ["bid"], part: "min" },
  { fields: ["mid"], part: "last" },
];
const LEGEND = "▲ buy · ▼ sell · ○ signal";
const FIGURES = [
  ["Last", (data, digits) => number(data.last, digits)],
  ["VWAP, of the day", (data, digits) => `${number(data.vwap, digits)}, ${number(data.session_vwap, digits)}`],
  ["Micro-price", (data, digits) => number(data.micro_price, digits + 1)],
  ["Spread", (data, digits) => `${number(data.spread, digits)} · ${number(data.spread_bps, 2)} bp`],
  ["Sizes", (data) => `${compact(data.bid_size)} × ${compact(data.ask_size)}`],
  ["Volume", (data) => compact(data.volume)],
  ["Volatility", (data) => percent(data.volatility)],
  ["Imbalance", (data) => change(data.imbalance, 2)],
  ["Quotes, ticks", (data) => `${number(data.quote_rate, 1)} /s, ${number(data.tick_rate, 1)} /s`],
  ["Verdict, because", (data) => `${data.verdict}, ${data.verdict_reason?.replaceAll("_", " ") ?? "–"}`],
  ["Age, usual silence", (data) => `${seconds(data.age_seconds)}, ${seconds(data.cadence_seconds)}`],
  ["Venue → receipt", (data, _, clockBound) => `${milliseconds(data.latency_seconds)} ${clockBound}`],
  ["Receipt → cycle", (data) => milliseconds(data.sampling_latency_seconds)],
  ["Crossed, locked", (data) => `${number(data.crossed_quotes)}, ${number(data.locked_quotes)}`],
  ["Missed, late, from the future", (data) => `${number(data.gaps)}, ${number(data.late)}, ${number(data.clock_faults)}`],
];

export class InstrumentView {
  constructor({ store, connection, go, draw }) {
    Object.assign(this, { store, connection, go, draw });
    this.mode = "line";
    this.frame = "";
    this.fills = new Recent(MOST_MARKS);
    this.signals = new Recent(MOST_MARKS);
    this.heading = h("strong", { class: "instrument" });
    this.price = h("span", { class: "big" });
    this.sides = h("span", { class: "sides" });
    this.verdict = h("span");
    this.readout = h("div", { class: "readout" });
    this.modes = ["line", "candles"].map((mode) =>
      h("button", { type: "button", onclick: () => this.#show(mode, this.frame) }, mode === "line" ? "Line" : "Candles"));
    this.frames = h("select", { "aria-label": "Timeframe", onchange: (event) => this.#show("candles", event.target.value) },
      h("option", { value: "" }, "auto"), ...TIMEFRAMES.map(([name]) => h("option", { value: name }, name)));
    this.figures = FIGURES.map(() => h("dd"));
    this.stage = h("div", { class: "stage" });
    this.fillTable = this.#markTable("Fills", "No fill in this range.", [
      { name: "side", title: "Side", class: "text", text: (row) => row.side, tone: (row) => row.colour },
      { name: "quantity", title: "Quantity", text: (row) => compact(row.quantity) },
      { name: "price", title: "Price", text: (row) => this.#price(row.value) },
    ]);
    this.signalTable = this.#markTable("Signals", "No signal in this range.", [
      { name: "direction", title: "Signal", class: "text", text: (row) => row.direction, hint: (row) => row.reason, tone: (row) => row.colour },
      { name: "strength", title: "Strength", text: (row) => change(row.strength, 2) },
      { name: "price", title: "Price", text: (row) => this.#price(row.value) },
    ]);
    const figures = panel("Now", h("dl", { class: "figures" }, ...FIGURES.map(([name], index) => h("div", {}, h("dt", {}, name), this.figures[index]))));
    this.gapTable = gapTable();
    this.gapPanel = panel("Gap ledger", this.gapTable.element);
    this.gapPanel.element.hidden = true;
    this.fillPanel = panel("Fills", this.fillTable.element);
    this.signalPanel = panel("Signals", this.signalTable.element);
    this.element = h("div", { class: "split" },
      h("section", { class: "panel full", "aria-label": "Chart" },
        h("div", { class: "headline" }, h("a", { class: "back", href: "#/market", title: "All instruments (Esc)" }, "‹"),
          this.heading, this.verdict, this.price, this.sides),
        this.stage),
      h("div", { class: "side" }, figures.element, this.gapPanel.element, this.fillPanel.element, this.signalPanel.element));
  }

  #markTable(label, empty, columns) {
    return new Table({
      label, empty, key: (row) => row.id, sort: "time", descending: true, search: (row) => row.text,
      columns: [
        { name: "time", title: "Time", class: "text", value: (row) => row.time, text: (row, now) => recent(row.time, now) },
        { name: "strategy", title: "Strategy", class: "name", text: (row) => row.strategy },
        ...columns,
      ],
    });
  }

  #price(value) {
    const digits = this.entry?.digits ?? 7;
    // A mid has one digit more than its prices; what follows is rounding.
    return value === null ? "–" : number(value, Math.min(Math.max(digits, decimals(value)), digits + 1));
  }

  get topics() {
    const venue = this.venue ? segment(this.venue) : "*";
    const instrument = segment(this.instrument);
    return [`metrics:market:${venue}:${instrument}`, `ticks:${instrument}`, "fills", "signals"];
  }

  enter({ path, query }) {
    this.instrument = path.join("/");
    this.title = this.instrument;
    this.venue = query.get("venue") ?? "";
    this.entry = null;
    this.mode = query.get("mode") === "candles" ? "candles" : "line";
    this.frame = query.get("tf") ?? "";
    setText(this.heading, this.instrument);
    this.fills.clear();
    this.signals.clear();
    const key = { instrument: this.instrument, venue: this.venue, recorder: this.connection.recorder };
    this.history = new History({ collector: "market", key, columns: COLUMNS });
    this.bars = new Bars(this.instrument, this.venue);
    this.gaps = [];
    this.polled = poll("market/gaps", { instrument: this.instrument, venue: this.venue, limit: MOST_GAPS }, GAP_SECONDS, (body) => (this.gaps = body.items));
    this.#stage(query);
  }

  leave() {
    this.ranged?.close();
    this.polled?.stop();
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
    this.go(address("market"));
  }

  key(key) {
    if (key === "c") this.#show(this.mode === "line" ? "candles" : "line", this.frame);
    return key === "c" || this.ranged.key(key);
  }

  filter(text) {
    this.fillTable.filter(text);
    this.signalTable.filter(text);
  }

  focus() {
    this.fillTable.element.focus();
  }

  /** Makes the chart of the mode. */
  #stage(query) {
    this.ranged?.close();
    const candles = this.mode === "candles";
    const digits = (value, places) => number(value, Math.max(places, Math.min(this.entry?.digits ?? 0, places + 1)));
    this.ranged = new RangedChart({
      now: () => this.store.lastCycle || this.connection.now(),
      draw: this.draw,
      load: (from, to, points, signal) => this.#load(from, to, points, signal),
      trim: (before) => this.#trim(before),
      data: () => (candles ? this.bars.data : this.history.data),
      note: () => this.#note(),
      settled: () => history.replaceState(null, "", this.#address()),
      chart: {
        label: `Chart of ${this.instrument}`,
        series: candles
          ? ["High", "Low", "Open", "Close"].map((name) => ({ name, hidden: true }))
          : [{ name: "Ask", colour: "band", width: 1, step: true }, { name: "Bid", colour: "band", width: 1, step: true }, { name: "Mid", colour: "accent", step: true }],
        bands: candles ? [] : [[1, 2]],
        digits,
        draw: (plot, colour) => this.#overlay(plot, colour),
        hovered: (index, plot) => this.#hover(index, plot),
      },
    });
    this.modes.forEach((button, index) => button.setAttribute("aria-pressed", (index === 1) === candles));
    this.frames.value = this.frame;
    this.ranged.toolbar.prepend(h("div", { class: "buttons" }, ...this.modes), this.frames);
    setText(this.readout, LEGEND);
    fill(this.stage, this.ranged.element, this.readout);
    this.ranged.open(query);
  }

  #show(mode, frame) {
    Object.assign(this, { mode, frame });
    const to = this.#address();
    history.replaceState(null, "", to);
    this.#stage(new URLSearchParams(to.split("?")[1] ?? ""));
  }

  #address() {
    const { mode, frame, venue } = this;
    return address("market", [this.instrument], { venue, ...this.ranged.parameters, mode: mode === "candles" ? mode : "", tf: frame });
  }

  async #load(from, to, points, signal) {
    const range = { start: stamp(from), end: this.ranged.range.live ? null : stamp(to) };
    const wanted = { instrument: this.instrument, venue: this.venue, ...range, limit: MOST_MARKS };
    const marks = async (path, recent, mark) => {
      const body = await get(path, wanted, { signal });
      // Live ones may be newer than what is stored.
      const newer = this.ranged.range.live ? recent.items.filter((one) => one.time >= from) : [];
      recent.clear();
      recent.add([...newer, ...body.items.map(mark)]);
      recent.isPart = body.next_cursor !== null;
    };
    const line = this.mode === "candles"
      ? this.bars.load(timeframe(this.frame, this.ranged.range.length), from, to, signal)
      : this.history.load(from, to, points, signal);
    await Promise.all([line, marks("fills", this.fills, fillMark), marks("signals", this.signals, signalMark)]);
  }

  #trim(before) {
    if (this.mode === "line") this.history.trim(before);
    this.fills.trim(before);
    this.signals.trim(before);
  }

  #note() {
    if (this.mode === "candles") return `${this.bars.name || "…"} bars from ticks`;
    const { tier, step } = this.history;
    if (!tier) return "…";
    return step === null ? "every cycle (raw)" : `buckets of ${duration(step / 1000)} (${tier})`;
  }

  update(entry) {
    const { data } = entry;
    if (data.instrument !== this.instrument || (this.venue && data.venue !== this.venue)) return;
    if (!this.venue) this.venue = data.venue;
    this.entry = entry;
    this.history.append(entry.time, data);
  }

  event({ topic, time_ns, data }) {
    if (data.instrument !== this.instrument || (this.venue && data.venue !== this.venue)) return;
    if (topic.startsWith("ticks:")) this.bars.tick(fromNs(time_ns), data.price);
    else if (topic === "fills") this.fills.push(fillMark({ ...data, time_ns }));
    else if (topic === "signals") this.signals.push(signalMark({ ...data, time_ns }));
  }

  #overlay(plot, colour) {
    if (this.mode === "candles") drawCandles(plot, colour, this.bars.width);
    drawMarks(plot, colour, this.signals.items);
    drawMarks(plot, colour, this.fills.items);
  }

  #hover(index, plot) {
    if (index === null || index === undefined) return setText(this.readout, LEGEND);
    const time = plot.data[0][index];
    const digits = this.entry?.digits ?? 2;
    const values = plot.data.slice(1).map((column, at) => `${this.ranged.chart.series[at].name} ${number(column[index], digits)}`);
    const texts = [`${clock(time, this.history.step === null ? 1 : 0)}`, ...values];
    for (const mark of [...this.fills.items, ...this.signals.items]) {
      if (Math.abs(plot.valToPos(mark.time, "x") - plot.cursor.left) < NEAR_PIXELS) texts.push(mark.text);
      if (texts.length > 8) break;
    }
    return setText(this.readout, texts.join(" · "));
  }

  render(now) {
    this.entry ??= this.#find();
    this.ranged.render();
    const [from, to] = this.ranged.bounds;
    for (const [recent, table, { note }] of [[this.fills, this.fillTable, this.fillPanel], [this.signals, this.signalTable, this.signalPanel]]) {
      const shown = recent.items.filter((one) => one.time >= from && one.time <= to);
      table.render(shown, now);
      setText(note, recent.isPart ? `newest ${number(shown.length)}` : number(shown.length));
    }
    this.gapPanel.element.hidden = this.gaps.length === 0;
    this.gapTable.render(this.gaps, now);
    this.#now();
  }

  #now() {
    if (this.entry === null) {
      // Nothing of the instrument shown before may stand under this name.
      for (const element of [this.price, this.sides, this.verdict, ...this.figures]) setText(element, "");
      setClass(this.verdict, "");
      return;
    }
    const { data, digits, direction } = this.entry;
    setText(this.price, number(data.mid, digits + 1));
    setClass(this.price, `big ${direction > 0 ? "up" : direction < 0 ? "down" : ""}`);
    setText(this.sides, `${number(data.bid, digits)} bid · ${number(data.ask, digits)} ask`);
    const verdict = data.crossed ? "crossed" : data.verdict;
    setText(this.verdict, `${data.venue} · ${verdict}`);
    this.verdict.title = verdictReason(data);
    setClass(this.verdict, `tag ${data.crossed ? "bad" : verdictTone(data.verdict)}`);
    const [machine] = this.store.entries("system").values();
    const bound = machine?.data.clock_bound_seconds ?? null;
    const error = bound === null ? "± unknown" : `± ${milliseconds(bound)}`;
    FIGURES.forEach(([, text], index) => setText(this.figures[index], text(data, digits, error)));
  }

  #find() {
    for (const entry of this.store.entries("market").values()) {
      if (entry.data.instrument === this.instrument && (!this.venue || entry.data.venue === this.venue)) return entry;
    }
    return null;
  }
}

function fillMark(one) {
  const { side, price, quantity, strategy } = one;
  return {
    id: `${strategy}|${one.venue}|${one.order_id}|${one.fill_id}`,
    time: fromNs(one.time_ns), value: price, shape: side === "buy" ? "up" : "down", colour: side === "buy" ? "up" : "down",
    strategy, side, quantity, text: `${strategy}: ${side} ${compact(quantity)} at ${price}`,
  };
}

function signalMark(one) {
  const { direction, strategy, strength, price, reason } = one;
  const colour = direction === "buy" ? "up" : direction === "sell" ? "down" : "muted";
  return {
    id: `${strategy}|${one.venue}|${one.signal_id}`, time: fromNs(one.time_ns), value: price ?? null, shape: "dot", colour,
    strategy, direction, strength: strength ?? null, reason: reason ?? "",
    text: `${strategy}: signal ${direction}${strength == null ? "" : ` ${change(strength, 2)}`}`,
  };
}
