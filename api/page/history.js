// Columns of a metric over a time range: stored ones from REST, then live ones.

import { fromNs, stamp } from "./formats.js";
import { get } from "./rest.js";

const RAW_MS = 600_000;
const RAW_POINTS = 6100;
const MOST_POINTS = 24_000;
const TRIM_POINTS = 100;
const TAIL_MS = 15_000;

/** `columns` are `{fields, part}`: the sum of these metrics; of buckets the `last`, `min` or `max`. */
export class History {
  constructor({ collector, key, columns }) {
    Object.assign(this, { collector, key, columns });
    this.fields = [...new Set(columns.flatMap((column) => column.fields))];
    this.clear();
  }

  clear() {
    this.data = [[], ...this.columns.map(() => [])];
    this.tail = [];
    this.tier = "";
    this.step = null;
    this.from = 0;
  }

  /** Reads the range `[from, to)` in about `points` points; short ranges in raw samples. */
  async load(from, to, points, signal) {
    const most = to - from <= RAW_MS ? Math.max(points, RAW_POINTS) : Math.max(2, Math.round(points));
    const body = await get("metrics/history", {
      collector: this.collector, ...this.key, fields: this.fields.join(), start: stamp(from), end: stamp(to), max_points: most,
    }, { signal });
    const found = body.series.reduce((a, b) => (a && a.time_ns.length >= b.time_ns.length ? a : b), null);
    const step = body.step_ns === null ? null : body.step_ns / 1e6;
    const values = (field, part) => {
      const column = found.fields[field];
      return Array.isArray(column) ? column : (column[part] ?? column.last);
    };
    this.data = found === null
      ? [[], ...this.columns.map(() => [])]
      : [found.time_ns.map(fromNs), ...this.columns.map(({ fields, part }) => total(fields.map((field) => values(field, part))))];
    Object.assign(this, { tier: body.tier, step, from });
    for (const sample of this.tail) this.#add(sample);
  }

  /** Takes a live sample. */
  append(time, data) {
    const sample = { time, values: this.columns.map(({ fields }) => sum(fields.map((field) => data[field]))) };
    this.tail.push(sample);
    if (this.tail[0].time < time - 2 * TAIL_MS) this.tail = this.tail.filter((one) => one.time > time - TAIL_MS);
    this.#add(sample);
  }

  /** Drops points before a time, many at once. */
  trim(before) {
    const [times] = this.data;
    if (!(times[TRIM_POINTS] < before)) return;
    const count = times.findIndex((time) => time >= before);
    for (const column of this.data) column.splice(0, count < 0 ? times.length : count);
  }

  #add({ time, values }) {
    const [times, ...columns] = this.data;
    const last = times.length ? times[times.length - 1] : -Infinity;
    const start = this.step === null ? time : Math.floor(time / this.step) * this.step;
    if (start < last || (this.step === null && start === last)) return;
    if (start > last) {
      times.push(start);
      columns.forEach((column, index) => column.push(values[index]));
      if (times.length > MOST_POINTS) for (const column of this.data) column.splice(0, column.length - MOST_POINTS + 2000);
      return;
    }
    columns.forEach((column, index) => {
      const at = column.length - 1;
      column[at] = merged(this.columns[index].part, column[at], values[index]);
    });
  }
}

function merged(part, before, value) {
  if (value === null || value === undefined) return before;
  if (before === null || part === "last") return value;
  return part === "min" ? Math.min(before, value) : Math.max(before, value);
}

function sum(values) {
  let result = 0;
  for (const value of values) {
    if (value === null || value === undefined) return null;
    result += value;
  }
  return result;
}

const total = (columns) => (columns.length === 1 ? columns[0] : columns[0].map((_, row) => sum(columns.map((column) => column[row]))));
