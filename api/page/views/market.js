// All instruments, live.

import { h, panel, setClass, setText } from "../dom.js";
import { change, compact, milliseconds, number, seconds } from "../formats.js";
import { address } from "../router.js";
import { Sparkline } from "../sparkline.js";
import { Table } from "../table.js";
import { colours } from "../theme.js";

const ARRANGE_MS = 2000;
const OLD_MS = 1500;
const CALM = 5;
const SPARK = { width: 132, height: 22, points: 300 };
export const VERDICTS = ["live", "quiet", "stale", "mute", "gap", "closed"];
const TONES = { live: "good", quiet: "calm", stale: "bad", mute: "bad", gap: "warn", closed: "calm" };

const price = (name) => (row) => number(row.data[name], row.digits);
const field = (name) => (row) => row.data[name];

export function verdictTone(verdict) {
  return TONES[verdict] ?? "calm";
}

/** Why a market has its verdict, in words. */
export function verdictReason(data) {
  const words = data.verdict_reason?.replaceAll("_", " ") ?? "";
  return data.cadence_seconds === null ? words : `${words} · usual silence up to ${seconds(data.cadence_seconds)}`;
}

export class MarketView {
  topics = ["metrics:market:**"];
  title = "Market";

  constructor({ store, connection, go }) {
    this.store = store;
    this.connection = connection;
    this.arranged = 0;
    this.colours = colours();
    this.table = new Table({
      label: "Instruments",
      key: (row) => row.topic,
      sort: "instrument",
      search: (row) => `${row.data.instrument} ${row.data.venue}`,
      open: (row) => go(address("market", [row.data.instrument], { venue: row.data.venue })),
      empty: "No instrument yet. Enable a feed, or send quotes from a trading process.",
      columns: this.#columns(),
    });
    this.counts = VERDICTS.map((verdict) => h("span", { class: `tag ${verdictTone(verdict)}` }, verdict));
    const section = panel("Market", this.table.element);
    section.note.append(...this.counts);
    section.element.classList.add("full");
    this.element = h("div", { class: "grid" }, section.element);
  }

  #columns() {
    return [
      { name: "instrument", title: "Instrument", left: true, class: "name", value: field("instrument"), text: field("instrument") },
      { name: "venue", title: "Venue", left: true, class: "text wide", value: field("venue"), text: field("venue") },
      { name: "bid", title: "Bid", value: field("bid"), text: price("bid"), class: "price" },
      { name: "ask", title: "Ask", value: field("ask"), text: price("ask"), class: "price" },
      { name: "mid", title: "Mid", help: "Coloured by its last change", value: field("mid"), class: "price mid",
        text: (row) => number(row.data.mid, row.digits + 1),
        tone: (row) => (row.direction > 0 ? "up" : row.direction < 0 ? "down" : "") },
      { name: "spark", title: "Last 30 s", class: "chart", cell: (cell, row) => this.#spark(cell, row) },
      { name: "move", title: "Change", help: "Change of the mid over the last 30 s, in basis points", class: "mid",
        value: move, text: (row) => change(move(row), 1),
        tone: (row) => (move(row) > 0 ? "up" : move(row) < 0 ? "down" : "") },
      { name: "spread", title: "Spread", help: "Basis points of the mid", value: field("spread_bps"),
        text: (row) => number(row.data.spread_bps, 2), tone: (row) => (row.data.crossed ? "bad" : "") },
      { name: "sizes", every: CALM, title: "Sizes", class: "wide", help: "At the best bid and ask",
        text: (row) => `${compact(row.data.bid_size)} × ${compact(row.data.ask_size)}` },
      { name: "quotes", every: CALM, title: "Quotes/s", class: "wide", value: field("quote_rate"), text: (row) => number(row.data.quote_rate, 1) },
      { name: "ticks", every: CALM, title: "Ticks/s", class: "wide", value: field("tick_rate"), text: (row) => number(row.data.tick_rate, 1) },
      { name: "age", title: "Age", class: "mid", help: "Since the newest quote or tick", value: field("age_seconds"),
        text: (row) => seconds(row.data.age_seconds) },
      { name: "latency", every: CALM, title: "Latency", class: "wide", help: "From venue to receipt", value: field("latency_seconds"),
        text: (row) => milliseconds(row.data.latency_seconds) },
      { name: "verdict", title: "Verdict", left: true, class: "verdict", value: field("verdict"),
        cell: (cell, row, now) => verdictCell(cell, row, now) },
    ];
  }

  #spark(cell, row) {
    if (cell.spark === undefined) {
      cell.spark = new Sparkline(SPARK.width, SPARK.height, SPARK.points);
      cell.append(cell.spark.canvas);
    }
    const moved = move(row);
    cell.spark.draw(row.spark, moved > 0 ? this.colours.up : moved < 0 ? this.colours.down : this.colours.muted);
  }

  enter() {
    this.store.prefill("market");
  }

  restored() {
    this.store.prefill("market");
  }

  recolour() {
    this.colours = colours();
  }

  filter(text) {
    this.table.filter(text);
  }

  focus() {
    this.table.element.focus();
  }

  render(now) {
    const rows = this.store.entries("market");
    if (this.table.sort !== "instrument" && now - this.arranged > ARRANGE_MS) {
      this.arranged = now;
      this.table.stale = true;
    }
    this.table.render(rows.values(), now);
    const totals = Object.fromEntries(VERDICTS.map((verdict) => [verdict, 0]));
    for (const row of rows.values()) totals[row.data.verdict] += 1;
    VERDICTS.forEach((verdict, index) => {
      this.counts[index].hidden = totals[verdict] === 0;
      setText(this.counts[index], `${totals[verdict]} ${verdict}`);
    });
  }
}

/** Change of the mid over the sparkline, in basis points. */
function move(row) {
  const ring = row.spark;
  for (let index = 0; index < ring.length; index += 1) {
    const first = ring.at(index);
    if (!Number.isNaN(first)) return first > 0 ? (ring.last / first - 1) * 1e4 : null;
  }
  return null;
}

function verdictCell(cell, row, now) {
  if (cell.tag === undefined) {
    cell.tag = h("span");
    cell.reason = h("span", { class: "reason" });
    cell.append(cell.tag, cell.reason);
  }
  const old = now - row.time > OLD_MS;
  const text = old ? "old" : row.data.crossed ? "crossed" : row.data.verdict;
  setText(cell.tag, text);
  setText(cell.reason, row.data.verdict_reason?.replaceAll("_", " ") ?? "");
  const reason = verdictReason(row.data);
  if (cell.tag.title !== reason) cell.tag.title = reason;
  setClass(cell.tag, `tag ${old || row.data.crossed ? "bad" : verdictTone(row.data.verdict)}`);
  setClass(cell.parentElement, old ? "opens old" : "opens");
}
