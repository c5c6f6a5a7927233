// Bars of an instrument: stored ones from REST, the newest kept up by live ticks.

import { fromNs, stamp } from "./formats.js";
import { get } from "./rest.js";

export const TIMEFRAMES = [
  ["1s", 1e3], ["5s", 5e3], ["15s", 15e3], ["1m", 6e4], ["5m", 3e5], ["15m", 9e5], ["1h", 3.6e6], ["4h", 1.44e7], ["1d", 8.64e7],
];
const GOOD_COUNT = 140;
const MOST_BARS = 2000;

/** The timeframe by its name, or the one that suits a range. */
export function timeframe(name, range) {
  return TIMEFRAMES.find(([one]) => one === name)
    ?? TIMEFRAMES.find(([, width]) => range / width <= GOOD_COUNT)
    ?? TIMEFRAMES[TIMEFRAMES.length - 1];
}

/** The path of an instrument: its slashes stay, all else is escaped. */
export const instrumentPath = (instrument) => instrument.split("/").map(encodeURIComponent).join("/");

export class Bars {
  constructor(instrument, venue) {
    Object.assign(this, { instrument, venue, data: [[], [], [], [], []], name: "", width: 1, from: 0 });
  }

  /** Reads the bars of a range. */
  async load([name, width], from, to, signal) {
    const body = await get(`market/bars/${instrumentPath(this.instrument)}`, {
      timeframe: name, venue: this.venue, start: stamp(from), end: stamp(to), limit: MOST_BARS,
    }, { signal });
    const items = body.items.reverse();
    const column = (field) => items.map((bar) => bar[field]);
    this.data = [items.map((bar) => fromNs(bar.time_ns)), column("high"), column("low"), column("open"), column("close")];
    Object.assign(this, { name, width, from });
  }

  /** Takes a live tick. */
  tick(time, price) {
    const [times, highs, lows, opens, closes] = this.data;
    const start = Math.floor(time / this.width) * this.width;
    const last = times.length - 1;
    if (!this.name || (last >= 0 && start < times[last])) return;
    if (last < 0 || start > times[last]) {
      for (const [column, value] of [[times, start], [highs, price], [lows, price], [opens, price], [closes, price]]) {
        column.push(value);
        if (column.length > MOST_BARS) column.shift();
      }
      return;
    }
    highs[last] = Math.max(highs[last], price);
    lows[last] = Math.min(lows[last], price);
    closes[last] = price;
  }
}
