// Orders open and finished, latencies and slippage by strategy and venue, fills as they come.

import { h, panel, stack } from "../dom.js";
import { change, compact, decimals, duration, fromNs, number, percent, recent } from "../formats.js";
import { get } from "../rest.js";
import { address } from "../router.js";
import { Recent } from "../series.js";
import { Table } from "../table.js";

const MOST = 500;
const SHOWN = 200;
const OPEN = new Set(["submitted", "accepted", "partially_filled"]);
const TONES = { filled: "good", rejected: "bad", cancelled: "calm", expired: "calm" };
const LEGS = [["signal_to_submit", "Signal → submit"], ["submit_to_ack", "Submit → ack"], ["ack_to_fill", "Ack → fill"]];

const field = (name) => (row) => row.data[name];
const side = (row) => (row.side === "buy" ? "up" : "down");

export class ExecutionView {
  topics = ["metrics:execution:**", "orders", "fills"];
  title = "Execution";

  constructor({ store, go }) {
    this.store = store;
    this.go = go;
    this.orders = new Recent(MOST, (one) => `${one.strategy}|${one.venue}|${one.order_id}`);
    this.fills = new Recent(MOST, (one) => `${one.strategy}|${one.venue}|${one.order_id}|${one.fill_id}`);
    this.digits = new Map();
    this.quality = this.#qualityTable();
    this.open = this.#orderTable("Open orders", "No open order.");
    this.finished = this.#orderTable("Finished orders", "No order has finished since this page is open.");
    this.fillTable = this.#fillTable();
    this.openPanel = panel("Open orders", this.open.element);
    this.fillPanel = panel("Fills", this.fillTable.element);
    const quality = panel("Quality by strategy and venue", this.quality.element);
    quality.element.classList.add("wide-panel");
    this.element = h("div", { class: "grid" }, quality.element,
      stack(this.openPanel, panel("Finished orders", this.finished.element)), this.fillPanel.element);
    this.fillPanel.element.classList.add("tall");
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

  #orderTable(label, empty) {
    return new Table({
      label, empty, key: this.orders.id, sort: "time", descending: true, search: words,
      open: (row) => this.go(address("market", [row.instrument], { venue: row.venue })),
      columns: [
        { name: "time", title: "Time", class: "text mid", value: (row) => row.time, text: (row, now) => recent(row.time, now, 1) },
        { name: "strategy", title: "Strategy", left: true, class: "name mid", value: (row) => row.strategy, text: (row) => row.strategy },
        { name: "instrument", title: "Instrument", left: true, class: "name", value: (row) => row.instrument, text: (row) => row.instrument },
        { name: "side", title: "Side", class: "text", text: (row) => row.side, tone: side },
        { name: "quantity", title: "Filled / quantity", text: (row) => `${compact(row.filled_quantity ?? 0)} / ${compact(row.quantity)}` },
        { name: "price", title: "Price", class: "mid", text: (row) => this.#price(row) },
        { name: "state", title: "State", left: true, class: "text", value: (row) => row.state, text: (row) => row.state.replace("_", " "), hint: (row) => row.reason ?? "",
          tone: (row) => TONES[row.state] ?? "" },
      ],
    });
  }

  #fillTable() {
    return new Table({
      label: "Fills", empty: "No fill yet.", key: this.fills.id, sort: "time", descending: true, search: words,
      open: (row) => this.go(address("market", [row.instrument], { venue: row.venue })),
      columns: [
        { name: "time", title: "Time", class: "text", value: (row) => row.time, text: (row, now) => recent(row.time, now, 1) },
        { name: "strategy", title: "Strategy", left: true, class: "name mid", value: (row) => row.strategy, text: (row) => row.strategy },
        { name: "instrument", title: "Instrument", left: true, class: "name", value: (row) => row.instrument, text: (row) => row.instrument },
        { name: "side", title: "Side", class: "text", text: (row) => row.side, tone: side },
        { name: "quantity", title: "Quantity", value: (row) => row.quantity, text: (row) => compact(row.quantity) },
        { name: "price", title: "Price", text: (row) => this.#price(row) },
        { name: "fee", title: "Fee", class: "mid", value: (row) => row.fee, text: (row) => number(row.fee, 4) },
        { name: "liquidity", title: "Liquidity", class: "text wide", text: (row) => row.liquidity ?? "–" },
      ],
    });
  }

  /** A price with as many digits as any price of its instrument had. */
  #price({ instrument, price }) {
    if (price === null || price === undefined) return "market";
    const digits = Math.max(this.digits.get(instrument) ?? 0, decimals(price));
    this.digits.set(instrument, digits);
    return number(price, digits);
  }

  enter() {
    this.control = new AbortController();
    this.#load();
  }

  async #load() {
    try {
      const body = await get("fills", { limit: SHOWN }, { signal: this.control.signal });
      this.fills.add(body.items.map(timed));
    } catch (error) {
      if (!this.control.signal.aborted) this.fillPanel.note.textContent = error.message;
    }
  }

  leave() {
    this.control.abort();
  }

  restored() {
    this.#load();
  }

  event({ topic, time_ns, data }) {
    if (topic === "fills") this.fills.push(timed({ ...data, time_ns }));
    else if (topic === "orders") this.orders.push(timed({ ...data, time_ns }));
  }

  filter(text) {
    for (const table of [this.quality, this.open, this.finished, this.fillTable]) table.filter(text);
  }

  focus() {
    this.fillTable.element.focus();
  }

  render(now) {
    this.quality.render(this.store.entries("execution").values(), now);
    this.open.render(this.orders.items.filter((one) => OPEN.has(one.state)), now);
    this.finished.render(this.orders.items.filter((one) => !OPEN.has(one.state)).slice(0, SHOWN), now);
    this.fillTable.render(this.fills.items.slice(0, SHOWN), now);
  }
}

const words = (row) => `${row.strategy} ${row.instrument} ${row.venue} ${row.side}`;
const timed = (one) => ({ ...one, time: fromNs(one.time_ns) });
