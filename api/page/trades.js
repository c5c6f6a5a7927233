// Round trips as a table.

import { change, compact, duration, fromNs, recent } from "./formats.js";
import { address } from "./router.js";
import { Table } from "./table.js";

const ROOM_MS = 5000;

const tone = (value) => (value > 0 ? "up" : value < 0 ? "down" : "");

/** An average price without the digits that only its division has. */
export function averagePrice(digits, { instrument }, value) {
  const price = value === null || value === undefined ? null : Number(value.toPrecision(7));
  return digits.price({ instrument, price }, "–");
}

/** The chart of a round trip, with some time around it. */
function around(trip) {
  const [from, to] = [fromNs(trip.opened_ns), fromNs(trip.closed_ns)];
  const room = Math.max(ROOM_MS, (to - from) / 2);
  const range = { from: new Date(from - room).toISOString(), to: new Date(to + room).toISOString() };
  return address("market", [trip.instrument], { venue: trip.venue, ...range });
}

/** A table of round trips; a row opens the chart of its instrument at its time. `all` are those of all strategies. */
export function tradeTable(go, digits, { all = false } = {}) {
  const strategy = { name: "strategy", title: "Strategy", left: true, class: "name mid", value: (row) => row.strategy, text: (row) => row.strategy };
  return new Table({
    label: "Round trips", key: (row) => `${row.strategy}|${row.trade_id}`, sort: "closed", descending: true, empty: "No round trip is closed yet.",
    search: (row) => `${row.strategy} ${row.instrument} ${row.side === "buy" ? "long" : "short"}`,
    open: (row) => go(around(row)),
    columns: [
      { name: "closed", title: "Closed", class: "text", value: (row) => row.closed_ns, text: (row, now) => recent(fromNs(row.closed_ns), now) },
      ...(all ? [strategy] : []),
      { name: "instrument", title: "Instrument", left: true, class: "name", value: (row) => row.instrument, text: (row) => row.instrument },
      { name: "side", title: "Side", class: "text mid", text: (row) => (row.side === "buy" ? "long" : "short") },
      { name: "quantity", title: "Quantity", class: "mid", value: (row) => row.quantity, text: (row) => compact(row.quantity) },
      { name: "entry", title: "Entry", class: "wide", text: (row) => averagePrice(digits, row, row.entry_price) },
      { name: "exit", title: "Exit", class: "wide", text: (row) => averagePrice(digits, row, row.exit_price) },
      { name: "held", title: "Held", class: "mid", value: (row) => row.closed_ns - row.opened_ns, text: (row) => duration((row.closed_ns - row.opened_ns) / 1e9) },
      { name: "pnl", title: "P&L", value: (row) => row.pnl, text: (row) => change(row.pnl), tone: (row) => tone(row.pnl) },
      { name: "worst", title: "Worst", class: "wide", value: (row) => row.mae, text: (row) => change(row.mae), hint: (row) => row.excursion_reason ?? "worst P&L while it was open" },
      { name: "best", title: "Best", class: "wide", value: (row) => row.mfe, text: (row) => change(row.mfe), hint: (row) => row.excursion_reason ?? "best P&L while it was open" },
      { name: "r", title: "R", value: (row) => row.r_multiple, text: (row) => change(row.r_multiple), tone: (row) => tone(row.r_multiple) },
    ],
  });
}
