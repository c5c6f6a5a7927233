// Orders open and finished, latencies and slippage by strategy and venue, fills as they come.

import { fill, h, panel, setText, stack } from "../dom.js";
import { Digits, fillTable, side, timedFill, words } from "../fills.js";
import { change, compact, duration, fromNs, number, percent, recent } from "../formats.js";
import { StoredList } from "../lists.js";
import { address } from "../router.js";
import { Table } from "../table.js";

const OPEN = new Set(["submitted", "accepted", "partially_filled", "unresolved"]);
const TONES = { filled: "good", rejected: "bad", unresolved: "bad", cancelled: "calm", expired: "calm" };
const LEGS = [
  ["signal_to_submit", "Decision → submit"], ["queue", "Queue"], ["limiter", "Limiter"], ["submit_to_ack", "Submit → ack"],
  ["ack_to_fill", "Ack → first fill"], ["submit_to_fill", "Submit → first fill"], ["submit_to_last_fill", "Submit → last fill"],
];
const PARTS = [["delay", "Delay"], ["trading", "Trading"], ["opportunity", "Opportunity"], ["fees", "Fees"]];
const MARKOUTS = [["100ms", "100 ms"], ["1s", "1 s"], ["5s", "5 s"], ["30s", "30 s"], ["5m", "5 min"]];
const TABLES = ["Orders", "Latency", "Costs and markouts"];

const field = (name) => (row) => row.data[name];

export class ExecutionView {
  topics = ["metrics:execution:**", "orders", "fills"];
  title = "Execution";

  constructor({ store, connection, go }) {
    Object.assign(this, { store, go });
    const recorder = () => connection.recorder;
    this.openOrders = new StoredList("orders", () => ({ recorder: recorder(), is_final: false }), timedOrder);
    this.finishedOrders = new StoredList("orders", () => ({ recorder: recorder(), is_final: true }), timedOrder);
    this.fills = new StoredList("fills", () => ({ recorder: recorder() }), timedFill);
    this.lists = [this.openOrders, this.finishedOrders, this.fills];
    this.digits = new Digits();
    this.tables = [orderFigures(), latencies(), costs()];
    this.tabs = TABLES.map((title, index) => h("button", { type: "button", onclick: () => this.#show(index) }, title));
    this.qualityBody = h("div");
    this.open = this.#orderTable("Open orders", "No open order.", this.openOrders);
    this.finished = this.#orderTable("Finished orders", "No order has finished yet.", this.finishedOrders);
    this.fillTable = fillTable(go, this.fills, this.digits);
    this.openPanel = panel("Open orders", this.open.element);
    this.finishedPanel = panel("Finished orders", this.finished.element);
    this.fillPanel = panel("Fills", this.fillTable.element);
    const quality = panel("Quality by strategy and venue", this.qualityBody);
    quality.note.append(h("span", { class: "buttons" }, ...this.tabs));
    quality.element.classList.add("wide-panel");
    this.#show(0);
    this.element = h("div", { class: "grid tall" }, quality.element,
      stack(this.openPanel, this.finishedPanel), this.fillPanel.element);
  }

  /** Shows one of the tables of quality; the others are not drawn. */
  #show(index) {
    this.quality = this.tables[index];
    this.tabs.forEach((tab, at) => tab.setAttribute("aria-pressed", at === index));
    fill(this.qualityBody, this.quality.element);
  }

  #orderTable(label, empty, list) {
    return new Table({
      label, empty, more: () => list.more(), key: (row) => row.id, sort: "time", descending: true, search: words,
      open: (row) => this.go(address("market", [row.instrument], { venue: row.venue })),
      columns: [
        { name: "time", title: "Time", class: "text mid", value: (row) => row.time, text: (row, now) => recent(row.time, now, 1) },
        { name: "strategy", title: "Strategy", left: true, class: "name mid", value: (row) => row.strategy, text: (row) => row.strategy },
        { name: "instrument", title: "Instrument", left: true, class: "name", value: (row) => row.instrument, text: (row) => row.instrument },
        { name: "side", title: "Side", class: "text", text: (row) => row.side, tone: side },
        { name: "quantity", title: "Filled / quantity", text: (row) => `${compact(row.filled_quantity ?? 0)} / ${compact(row.quantity)}` },
        { name: "price", title: "Price", class: "mid", text: (row) => this.digits.price(row) },
        { name: "state", title: "State", left: true, class: "text", value: (row) => row.state, text: (row) => row.state.replace("_", " "), hint: (row) => row.reason ?? "",
          tone: (row) => TONES[row.state] ?? "" },
      ],
    });
  }

  enter() {
    for (const list of this.lists) list.load();
  }

  leave() {
    for (const list of this.lists) list.close();
  }

  restored() {
    this.enter();
  }

  event({ topic, time_ns, data }) {
    if (topic === "fills") this.fills.recent.push(timedFill({ ...data, time_ns }));
    else if (topic === "orders") this.#order(timedOrder({ ...data, time_ns }));
  }

  #order(order) {
    if (OPEN.has(order.state)) {
      this.openOrders.recent.push(order);
    } else {
      this.openOrders.recent.remove(order.id);
      this.finishedOrders.recent.push(order);
    }
  }

  filter(text) {
    for (const table of [...this.tables, this.open, this.finished, this.fillTable]) table.filter(text);
  }

  focus() {
    this.fillTable.element.focus();
  }

  render(now) {
    this.quality.render(this.store.entries("execution").values(), now);
    const [open, finished, fills] = this.lists.map((list) => list.recent);
    // An order may have finished while the open ones were read, and its last changes may come in any order.
    this.open.render(open.items.filter((one) => !finished.known.has(one.id)), now, open.version + finished.version);
    this.finished.render(finished.items, now, finished.version);
    this.fillTable.render(fills.items, now, fills.version);
    setText(this.openPanel.note, this.openOrders.problem || number(this.open.rows.size));
    setText(this.finishedPanel.note, this.finishedOrders.note);
    setText(this.fillPanel.note, this.fills.note);
  }
}

const timedOrder = (one) => ({ ...one, id: `${one.strategy}|${one.venue}|${one.instrument}|${one.order_id}`, time: fromNs(one.time_ns) });

/** A table with a row for each strategy and venue. */
function byKey(label, columns) {
  return new Table({
    label, key: (row) => row.topic, sort: "strategy", empty: "No strategy has sent an order yet.",
    search: (row) => `${row.data.strategy} ${row.data.venue}`,
    columns: [
      { name: "strategy", title: "Strategy", left: true, class: "name", value: field("strategy"), text: field("strategy") },
      { name: "venue", title: "Venue", left: true, class: "text wide", value: field("venue"), text: field("venue") },
      ...columns,
    ],
  });
}

const doubt = (name, title, help) => ({
  name, title, help, class: "wide", value: field(name), text: ({ data }) => number(data[name]), tone: ({ data }) => (data[name] ? "warn" : ""),
});

function orderFigures() {
  return byKey("Quality", [
    { name: "orders", title: "Orders", class: "mid", value: field("orders_submitted"), text: ({ data }) => number(data.orders_submitted) },
    { name: "open", title: "Open", value: field("open_orders"), text: ({ data }) => number(data.open_orders) },
    { name: "unresolved", title: "Unresolved", class: "mid", help: "Without an answer for too long, or reported so", value: field("unresolved_orders"),
      text: ({ data }) => number(data.unresolved_orders), tone: ({ data }) => (data.unresolved_orders ? "bad" : "") },
    { name: "filled", title: "Filled", value: field("fill_ratio"), text: ({ data }) => percent(data.fill_ratio) },
    { name: "cancelled", title: "Cancelled", class: "mid", value: field("cancel_ratio"), text: ({ data }) => percent(data.cancel_ratio) },
    { name: "rejected", title: "Rejected", value: field("reject_ratio"), text: ({ data }) => percent(data.reject_ratio) },
    { name: "maker", title: "Maker", class: "mid", value: field("maker_ratio"), text: ({ data }) => percent(data.maker_ratio) },
    { name: "fees", title: "Fees", class: "mid", value: field("commissions"), text: ({ data }) => number(data.commissions, 2) },
    doubt("order_conflicts", "Contradictions", "Reports and fills that contradict each other"),
    doubt("unpriced_fills", "No rate", "Fills in a currency without a rate: in no amount"),
    doubt("late_events", "Late", "Events of orders that are no longer kept: not counted"),
    doubt("duplicate_fills", "Repeated", "Fills reported again, and not counted"),
    doubt("negative_latencies", "Negative", "Latencies below zero: the clocks of two parties disagree"),
  ]);
}

function latencies() {
  return byKey("Latency", LEGS.map(([name, title]) => ({
    name, title, class: name === "submit_to_ack" || name === "ack_to_fill" ? "" : "mid", help: "Median and 99th percentile · number of orders", value: field(`${name}_p50`),
    text: ({ data }) => (data[`${name}_p50`] === null ? "–" : `${duration(data[`${name}_p50`])} / ${duration(data[`${name}_p99`])} · ${number(data[`${name}_observations`])}`),
    hint: ({ data }) => (data[`${name}_p50`] === null ? "no order of the window has both ends of this leg" : ""),
  })));
}

function costs() {
  const points = (name, title, help, better, of = null) => ({
    name, title, help, class: of === null ? "wide" : "", value: field(`${name}_bps`),
    text: ({ data }) => (data[`${name}_bps`] === null ? "–" : `${change(data[`${name}_bps`], 2)}${of === null ? "" : ` · ${number(data[of])}`}`),
    tone: ({ data }) => { const value = data[`${name}_bps`] * better; return value > 0 ? "up" : value < 0 ? "down" : ""; },
  });
  return byKey("Costs and markouts", [
    points("slippage_decision", "vs decision", "Slippage in basis points against the price at the decision · orders; positive is a cost", -1, "slippage_decision_observations"),
    points("slippage_arrival", "vs arrival", "Slippage in basis points against the mid at submission · orders; positive is a cost", -1, "slippage_arrival_observations"),
    points("shortfall", "Shortfall", "Implementation shortfall in basis points · finished orders: the sum of the four parts; positive is a cost", -1, "shortfall_observations"),
    ...PARTS.map(([name, title]) => points(`shortfall_${name}`, title, "Part of the shortfall, in basis points", -1)),
    ...MARKOUTS.map(([name, title]) => ({ ...points(`markout_${name}`, title, "Markout in basis points: the mid that time after the fills against their price; positive is a gain", 1), class: name === "5s" ? "mid" : "wide" })),
  ]);
}
