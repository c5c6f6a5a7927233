// Orders open and finished, latencies and slippage by strategy and venue, fills as they come.

import { h, panel, setText, stack } from "../dom.js";
import { Digits, fillTable, side, timedFill, words } from "../fills.js";
import { change, compact, duration, fromNs, number, percent, recent } from "../formats.js";
import { StoredList } from "../lists.js";
import { address } from "../router.js";
import { Table } from "../table.js";

const OPEN = new Set(["submitted", "accepted", "partially_filled"]);
const TONES = { filled: "good", rejected: "bad", cancelled: "calm", expired: "calm" };
const LEGS = [["signal_to_submit", "Signal → submit"], ["submit_to_ack", "Submit → ack"], ["ack_to_fill", "Ack → fill"]];

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
    this.quality = this.#qualityTable();
    this.open = this.#orderTable("Open orders", "No open order.", this.openOrders);
    this.finished = this.#orderTable("Finished orders", "No order has finished yet.", this.finishedOrders);
    this.fillTable = fillTable(go, this.fills, this.digits);
    this.openPanel = panel("Open orders", this.open.element);
    this.finishedPanel = panel("Finished orders", this.finished.element);
    this.fillPanel = panel("Fills", this.fillTable.element);
    const quality = panel("Quality by strategy and venue", this.quality.element);
    quality.element.classList.add("wide-panel");
    this.element = h("div", { class: "grid tall" }, quality.element,
      stack(this.openPanel, this.finishedPanel), this.fillPanel.element);
  }

  #qualityTable() {
    const latency = ([name, title]) => ({
      name, title, class: "mid", help: "Median and 99th percentile", value: field(`${name}_p50`),
      text: ({ data }) => (data[`${name}_p50`] === null ? "–" : `${duration(data[`${name}_p50`])} / ${duration(data[`${name}_p99`])}`),
    });
    const slippage = (name, title, help) => ({
      name, title, help, value: field(`${name}_bps`),
      text: ({ data }) => (data[`${name}_bps`] === null ? "–" : `${change(data[`${name}_bps`], 3)} bp`),
      tone: ({ data }) => (data[`${name}_bps`] > 0 ? "down" : data[`${name}_bps`] < 0 ? "up" : ""),
    });
    return new Table({
      label: "Quality", key: (row) => row.topic, sort: "strategy", empty: "No strategy has sent an order yet.",
      search: (row) => `${row.data.strategy} ${row.data.venue}`,
      columns: [
        { name: "strategy", title: "Strategy", left: true, class: "name", value: field("strategy"), text: field("strategy") },
        { name: "venue", title: "Venue", left: true, class: "text wide", value: field("venue"), text: field("venue") },
        { name: "orders", title: "Orders", class: "mid", value: field("orders_submitted"), text: ({ data }) => number(data.orders_submitted) },
        { name: "open", title: "Open", value: field("open_orders"), text: ({ data }) => number(data.open_orders) },
        { name: "filled", title: "Filled", value: field("fill_ratio"), text: ({ data }) => percent(data.fill_ratio) },
        { name: "cancelled", title: "Cancelled", class: "wide", value: field("cancel_ratio"), text: ({ data }) => percent(data.cancel_ratio) },
        { name: "rejected", title: "Rejected", class: "mid", value: field("reject_ratio"), text: ({ data }) => percent(data.reject_ratio) },
        ...LEGS.map(latency),
        slippage("slippage_arrival", "Slippage", "Against the mid at submission; positive is a cost"),
        { ...slippage("slippage_decision", "From decision", "Against the signal's price; positive is a cost"), class: "wide" },
        { name: "maker", title: "Maker", class: "wide", value: field("maker_ratio"), text: ({ data }) => percent(data.maker_ratio) },
        { name: "fees", title: "Fees", class: "mid", value: field("commissions"), text: ({ data }) => number(data.commissions, 2) },
      ],
    });
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
    for (const table of [this.quality, this.open, this.finished, this.fillTable]) table.filter(text);
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
