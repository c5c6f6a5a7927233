// The live state: the newest sample of every key, short series of it, and how regularly cycles arrive.

import { decimals, fromNs, segment, stamp } from "./formats.js";
import { get } from "./rest.js";
import { Ring } from "./series.js";

const SPARK_POINTS = 300;
const CYCLES = 600;
const CYCLE_MS = 100;
const RATE_CYCLES = 50;
const GAP_MS = 5000;
const FORGET_MS = 600_000;
const MAX_KEYS = 20_000;

/** Metric of each collector whose newest values are kept for a sparkline. */
const SPARKS = { market: "mid", strategy: "realised_pnl" };

/** One key of one collector: an instrument, a strategy, a host. */
class Entry {
  constructor(topic, collector) {
    this.topic = topic;
    this.collector = collector;
    this.time = 0;
    this.data = null;
    this.digits = 0;
    this.direction = 0;
    this.spark = collector in SPARKS ? new Ring(SPARK_POINTS) : null;
    this.since = 0;
  }
}

/** Puts stored values before the live ones of an entry. */
function prepend(entry, times, values) {
  const ring = entry.spark;
  const live = Array.from({ length: ring.length }, (_, index) => ring.at(index));
  const stored = values.filter((_, index) => fromNs(times[index]) < entry.since);
  ring.clear();
  for (const value of [...stored, ...live]) ring.push(value ?? Number.NaN);
  if (times.length) entry.since = Math.min(entry.since, fromNs(times[0]));
}

export class Store {
  constructor(connection) {
    this.connection = connection;
    this.collectors = new Map();
    this.topics = new Map();
    this.ages = new Ring(CYCLES);
    this.cycleTimes = new Ring(CYCLES);
    this.lastCycle = 0;
    this.missing = 0;
    this.updates = 0;
    this.first = new Promise((resolve) => (this.arrived = resolve));
  }

  /** Entries of a collector by topic. */
  entries(collector) {
    let found = this.collectors.get(collector);
    if (found === undefined) this.collectors.set(collector, (found = new Map()));
    return found;
  }

  /** Takes a state, from a snapshot or an update; returns its entry, or null if it is not a sample. */
  take(message, live) {
    const entry = this.topics.get(message.topic) ?? this.#entry(message.topic);
    if (entry === null) return null;
    const time = message.time_ns / 1e6;
    const before = entry.data;
    if (before === null || time - entry.time > GAP_MS) {
      entry.spark?.clear();
      entry.since = time;
    }
    entry.data = message.data;
    entry.time = time;
    this.arrived();
    if (entry.spark !== null) this.#spark(entry, before);
    if (live && time > this.lastCycle) this.#cycle(time);
    return entry;
  }

  /** Makes the entry of a topic; null if the topic is none of samples, or there are too many. */
  #entry(topic) {
    const [kind, collector] = topic.split(":", 2);
    if (kind !== "metrics") return null;
    const entries = this.entries(collector);
    if (entries.size >= MAX_KEYS) return null;
    const entry = new Entry(topic, collector);
    entries.set(topic, entry);
    this.topics.set(topic, entry);
    return entry;
  }

  /** Reads what the sparklines of a collector showed before this page was open. */
  async prefill(collector) {
    await this.first;
    const name = SPARKS[collector];
    const now = this.connection.now();
    const range = { start: stamp(now - SPARK_POINTS * CYCLE_MS), end: stamp(now) };
    const { recorder } = this.connection;
    const body = await get("metrics/history", { collector, fields: name, recorder, ...range }).catch(() => null);
    for (const { key, time_ns: times, fields } of body?.series ?? []) {
      const names = Object.keys(key).filter((one) => one !== "recorder");
      const topic = ["metrics", collector, ...names.map((one) => segment(key[one]))].join(":");
      const entry = this.entries(collector).get(topic);
      if (entry !== undefined) prepend(entry, times, fields[name]);
    }
  }

  #spark(entry, before) {
    const { collector } = entry;
    const name = SPARKS[collector];
    const value = entry.data[name];
    entry.spark.push(value ?? Number.NaN);
    const previous = before?.[name];
    if (previous !== undefined && previous !== null && value !== null && value !== previous) {
      entry.direction = Math.sign(value - previous);
    }
    if (collector === "market") {
      for (const price of [entry.data.bid, entry.data.ask]) {
        if (price !== null && price !== undefined) entry.digits = Math.max(entry.digits, decimals(price));
      }
    }
  }

  #cycle(time) {
    if (this.lastCycle) this.missing += Math.max(0, Math.round((time - this.lastCycle) / CYCLE_MS) - 1);
    this.lastCycle = time;
    this.cycleTimes.push(time);
    this.ages.push(Math.max(0, this.connection.now() - time));
    this.updates += 1;
  }

  /** Cycles per second over the last few seconds, as they arrived. */
  get cycleRate() {
    const count = Math.min(this.cycleTimes.length, RATE_CYCLES);
    if (count < 2) return null;
    const first = this.cycleTimes.at(this.cycleTimes.length - count);
    return ((count - 1) * 1000) / (this.cycleTimes.last - first);
  }

  /** Milliseconds since the newest cycle, by the server's clock; null before the first. */
  get age() {
    return this.lastCycle ? this.connection.now() - this.lastCycle : null;
  }

  /** Starts to count cycles again, after a gap in the connection. */
  restart() {
    this.lastCycle = 0;
    this.cycleTimes.clear();
  }

  /** Forgets keys that are no longer updated, relative to the newest time of the same collector. */
  sweep() {
    for (const entries of this.collectors.values()) {
      let newest = 0;
      for (const entry of entries.values()) newest = Math.max(newest, entry.time);
      for (const [topic, entry] of entries) {
        if (newest - entry.time <= FORGET_MS) continue;
        entries.delete(topic);
        this.topics.delete(topic);
      }
    }
  }
}
