// Fills as a table, and prices of orders and fills.

import { compact, decimals, fromNs, number, precise, recent } from "./formats.js";
import { address } from "./router.js";
import { Table } from "./table.js";

export const side = (row) => (row.side === "buy" ? "up" : "down");
export const words = (row) => `${row.strategy} ${row.instrument} ${row.venue} ${row.side}`;

/** A fill with the id and the time of a list. */
export const timedFill = (one) => ({ ...one, id: `${one.strategy}|${one.venue}|${one.order_id}|${one.fill_id}`, time: fromNs(one.time_ns) });

/** Prices with as many digits as any price of their instrument had. */
export class Digits {
  constructor() {
    this.most = new Map();
  }

  price({ instrument, price }, missing = "market") {
    if (price === null || price === undefined) return missing;
    const digits = Math.max(this.most.get(instrument) ?? 0, decimals(price));
    this.most.set(instrument, digits);
    return number(price, digits);
  }
}

/** A table of the fills of a list; a row opens the chart of its instrument. */
export function fillTable(go, list, digits) {
  return new Table({
    label: "Fills", empty: "No fill yet.", key: (row) => row.id, sort: "time", descending: true, search: words,
    more: () => list.more(),
    open: (row) => go(address("market", [row.instrument], { venue: row.venue })),
    columns: [
      { name: "time", title: "Time", class: "text", value: (row) => row.time, text: (row, now) => recent(row.time, now, 1) },
      { name: "strategy", title: "Strategy", left: true, class: "name mid", value: (row) => row.strategy, text: (row) => row.strategy },
      { name: "instrument", title: "Instrument", left: true, class: "name", value: (row) => row.instrument, text: (row) => row.instrument },
      { name: "side", title: "Side", class: "text", text: (row) => row.side, tone: side },
      { name: "quantity", title: "Quantity", value: (row) => row.quantity, text: (row) => compact(row.quantity) },
      { name: "price", title: "Price", text: (row) => digits.price(row) },
      { name: "fee", title: "Fee", class: "mid", value: (row) => row.fee, text: (row) => precise(row.fee, 4) },
      { name: "liquidity", title: "Liquidity", class: "text wide", text: (row) => row.liquidity ?? "–" },
    ],
  });
}
