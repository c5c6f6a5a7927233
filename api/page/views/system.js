// The recorder itself: parts, machine, collectors, feeds, ledger, logs, and this connection.

import { fill, h, panel, setText, stack, tile } from "../dom.js";
import { bytes, compact, duration, fromNs, number, percent, recent } from "../formats.js";
import { StoredList } from "../lists.js";
import { gapTable } from "../gaps.js";
import { poll } from "../rest.js";
import { Table } from "../table.js";
import { HEALTH_TONES } from "./overview.js";

const POLL_SECONDS = 1;
const GAP_SECONDS = 5;
const MOST_GAPS = 100;
const HIGH_RATIO = 0.85;
const LATE_SECONDS = 0.02;
const LEVEL_TONES = { error: "bad", critical: "bad", warning: "warn" };
const number_of = (name) => (row) => number(row[name]);

export class SystemView {
  topics = ["logs"];
  title = "System";

  constructor({ store, connection, go }) {
    this.store = store;
    this.connection = connection;
    this.logs = new StoredList("system/logs", () => ({ recorder: connection.recorder }), timedLog);
    this.tiles = {
      cpu: tile("Processor"), memory: tile("Memory"), disk: tile("Data disk"), process: tile("Recorder"),
      loop: tile("Event loop"), clock: tile("Clock offset"), link: tile("This connection"), uptime: tile("Uptime"),
    };
    this.partList = h("ul", { class: "list" });
    this.parts = panel("Parts", this.partList);
    this.linkList = h("dl", { class: "figures" });
    this.#tables();
    this.logPanel = panel("Logs", this.logTable.element);
    this.gaps = gapTable(go);
    this.gapPanel = panel("Gap ledger", this.gaps.element);
    this.element = h("div", { class: "grid" },
      h("div", { class: "tiles" }, ...Object.values(this.tiles).map((one) => one.element)),
      stack(this.parts, panel("Collectors", this.collectors.element), this.logPanel),
      stack(panel("Ledger", this.ledger.element), panel("Feeds", this.feeds.element), this.gapPanel, panel("This connection", this.linkList)));
    this.link = LINK.map(([name]) => {
      const value = h("dd");
      this.linkList.append(h("div", {}, h("dt", {}, name), value));
      return value;
    });
  }

  #tables() {
    this.collectors = new Table({
      label: "Collectors", key: (row) => row.name, sort: "name",
      columns: [
        { name: "name", title: "Collector", left: true, class: "name", value: (row) => row.name, text: (row) => row.name },
        { name: "state", title: "State", class: "text", text: (row) => row.state, tone: (row) => (row.state === "running" ? "good" : "bad") },
        { name: "keys", title: "Keys", value: (row) => row.keys, text: number_of("keys") },
        { name: "samples", title: "Samples", class: "mid", value: (row) => row.samples, text: number_of("samples") },
        { name: "events", title: "Events", class: "wide", value: (row) => row.events, text: number_of("events") },
        { name: "skipped", title: "Skipped", class: "mid", text: number_of("skipped"), tone: (row) => (row.skipped ? "warn" : "") },
        { name: "errors", title: "Errors", text: number_of("errors"), tone: (row) => (row.errors ? "bad" : "") },
        { name: "took", title: "Last", help: "Time of the newest sampling", value: (row) => row.duration_last_seconds, text: (row) => duration(row.duration_last_seconds) },
      ],
    });
    this.feeds = new Table({
      label: "Feeds", key: (row) => row.name, sort: "name", empty: "No feed is enabled.",
      columns: [
        { name: "name", title: "Feed", left: true, class: "name", value: (row) => row.name, text: (row) => row.name },
        { name: "state", title: "State", class: "text", text: (row) => row.state, tone: (row) => (row.state === "failed" ? "bad" : row.state === "running" ? "good" : "") },
        { name: "events", title: "Events", value: (row) => row.events, text: number_of("events") },
        { name: "restarts", title: "Restarts", text: number_of("restarts"), tone: (row) => (row.restarts ? "warn" : "") },
        { name: "last", title: "Last event", text: (row, now) => recent(fromNs(row.last_event_ns), now, 1) },
        { name: "error", title: "Last error", class: "text wide", text: (row) => row.last_error ?? "" },
      ],
    });
    this.ledger = new Table({
      label: "Ledger", key: (row) => row.stream, sort: "stream",
      columns: [
        { name: "stream", title: "Stream", left: true, class: "name", value: (row) => row.stream, text: (row) => row.stream },
        { name: "emitted", title: "Emitted", value: (row) => row.emitted, text: number_of("emitted") },
        { name: "stored", title: "Stored", class: "mid", value: (row) => row.stored, text: number_of("stored") },
        { name: "spooled", title: "Spooled", class: "mid", value: (row) => row.spooled, text: number_of("spooled") },
        { name: "dropped", title: "Dropped", value: dropped, text: (row) => number(dropped(row)), tone: (row) => (dropped(row) ? "warn" : "") },
        { name: "imbalance", title: "Imbalance", text: number_of("imbalance"), tone: (row) => (row.imbalance ? "bad" : "") },
      ],
    });
    this.logTable = new Table({
      label: "Logs", key: (row) => row.id, sort: "time", descending: true, empty: "No log line of an emitter yet.",
      more: () => this.logs.more(),
      search: (row) => `${row.component} ${row.level} ${row.message}`,
      columns: [
        { name: "time", title: "Time", class: "text", value: (row) => row.time, text: (row, now) => recent(row.time, now, 1) },
        { name: "level", title: "Level", class: "text", text: (row) => row.level, tone: (row) => LEVEL_TONES[row.level] ?? "" },
        { name: "component", title: "Component", left: true, class: "name", text: (row) => row.component },
        { name: "message", title: "Message", class: "text message", text: (row) => row.message, hint: (row) => row.message },
      ],
    });
  }

  enter() {
    this.logs.load();
    this.polls = [
      poll("health", {}, POLL_SECONDS, (body) => this.#health(body), { accepted: [503] }),
      poll("ledger", {}, POLL_SECONDS, (body) => (this.streams = body.streams)),
      poll("collectors", {}, POLL_SECONDS, (body) => (this.plugins = body)),
      poll("market/gaps", { limit: MOST_GAPS }, GAP_SECONDS, (body) => (this.gapRows = body)),
    ];
  }

  leave() {
    this.logs.close();
    for (const one of this.polls) one.stop();
  }

  restored() {
    this.logs.load();
  }

  event({ topic, time_ns, data }) {
    if (topic === "logs") this.logs.recent.push(timedLog({ ...data, time_ns }));
  }

  filter(text) {
    for (const table of [this.ledger, this.collectors, this.feeds, this.gaps, this.logTable]) table.filter(text);
  }

  #health(report) {
    const lines = report.components.map((part) =>
      h("li", {}, h("span", { class: `dot ${HEALTH_TONES[part.health]}` }), h("b", {}, part.name),
        h("span", { class: "detail" }, part.detail || part.health)));
    fill(this.partList, ...lines);
    setText(this.parts.note, `${report.recorder} · ${report.version}`);
  }

  render(now) {
    if (this.streams) this.ledger.render(this.streams, now);
    if (this.plugins) {
      this.collectors.render(this.plugins.collectors, now);
      this.feeds.render(this.plugins.feeds, now);
    }
    if (this.gapRows) {
      this.gaps.render(this.gapRows.items, now);
      setText(this.gapPanel.note, `${number(this.gapRows.items.length)}${this.gapRows.next_cursor === null ? "" : "+"}`);
    }
    this.logTable.render(this.logs.recent.items, now, this.logs.recent.version);
    setText(this.logPanel.note, this.logs.note);
    LINK.forEach(([, text], index) => setText(this.link[index], text(this.connection, this.store)));
    const [entry] = this.store.entries("system").values();
    if (entry) this.#machine(entry.data);
  }

  #machine(data) {
    const { cpu, memory, disk, process, loop, clock: offset, link, uptime } = this.tiles;
    const high = (ratio) => (ratio > HIGH_RATIO ? "warn" : "");
    cpu.set(percent(data.cpu_ratio, 0), `load ${number(data.load_1m, 2)} · ${number(data.load_5m, 2)}`, high(data.cpu_ratio));
    memory.set(percent(data.memory_used_ratio, 0), `${bytes(data.memory_available_bytes)} available`, high(data.memory_used_ratio));
    disk.set(percent(data.disk_used_ratio, 0), `${bytes(data.disk_free_bytes)} free`, high(data.disk_used_ratio));
    process.set(percent(data.process_cpu_ratio, 0), `${bytes(data.process_resident_bytes)} · ${number(data.process_threads)} threads`);
    loop.set(duration(data.loop_lag_max_seconds), `lag · ${number(data.loop_blocks)} blocks`, data.loop_lag_max_seconds > LATE_SECONDS ? "warn" : "");
    offset.set(duration(data.clock_offset_seconds), data.clock_offset_seconds === null ? "nothing synchronises it: error not known" : `error at most ${duration(data.clock_bound_seconds)}`);
    link.set(this.connection.roundTrip === null ? "–" : `${number(this.connection.roundTrip, 1)} ms`, "round trip");
    uptime.set(duration(Math.floor(data.uptime_seconds)), `${number(data.processes)} processes`);
  }
}

const LINK = [
  ["State", (connection) => connection.state],
  ["Client", (connection) => connection.clientId || "–"],
  ["Round trip", (connection) => (connection.roundTrip === null ? "–" : `${number(connection.roundTrip, 1)} ms`)],
  ["Clock of this browser", (connection) => (connection.offset === null ? "–" : `${duration(-connection.offset / 1000)} ahead`)],
  ["Cycle to screen", (_, store) => (store.ages.length ? `${number(store.ages.quantile(0.5), 1)} ms, p99 ${number(store.ages.quantile(0.99), 1)} ms` : "–")],
  ["Messages", (connection) => compact(connection.messages)],
  ["States skipped", (connection) => number(connection.conflated)],
  ["Cycles missing", (_, store) => number(store.missing)],
  ["Reconnects", (connection) => number(connection.reconnects)],
];

function dropped(stream) {
  let rows = 0;
  for (const count of Object.values(stream.dropped)) rows += count;
  return rows;
}

const timedLog = (one) => ({ ...one, id: `${one.time_ns}|${one.component}|${one.message}`, time: fromNs(one.time_ns) });
