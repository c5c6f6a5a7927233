// Risk: whether anything speaks against trading, limits in use, exposure by currency and instrument, regimes.

import { fill, h, panel, setText, stack, tile } from "../dom.js";
import { change, compact, fromNs, number, percent, recent } from "../formats.js";
import { poll } from "../rest.js";
import { address } from "../router.js";
import { Table } from "../table.js";
import { tone } from "./strategies.js";

const POLL_SECONDS = 1;
const LEVEL_TONES = { ok: "good", soft: "warn", hard: "bad" };
const STATE_TONES = { halted: "bad", degraded: "warn", active: "good", idle: "" };
const COUNTS = new Set(["open_orders", "open_positions", "red_days"]);

const signed = (name) => ({ value: (row) => row[name], text: (row) => change(row[name]), tone: (row) => tone(row[name]) });
const multiple = (name) => ({ value: (row) => row[name], text: (row) => (row[name] === null ? "–" : `${change(row[name])} R`), hint: (row) => row.reasons?.[name] ?? "", tone: (row) => tone(row[name]) });

export class RiskView {
  topics = [];
  title = "Risk";

  constructor({ go }) {
    this.tiles = {
      trade: tile("Can trade"), regime: tile("Regime"), gross: tile("Gross exposure"), net: tile("Net exposure"),
      day: tile("Today", "#/strategies"), week: tile("Week", "#/strategies"), breached: tile("Limits"), positions: tile("Open positions"),
    };
    this.objectionList = h("ul", { class: "list" });
    this.objections = panel("Objections to trading", this.objectionList);
    this.limits = this.#limitTable();
    this.strategies = this.#strategyTable(go);
    this.currencies = exposureTable("Net exposure by currency", [
      { name: "currency", title: "Currency", left: true, class: "name", value: (row) => row.currency ?? "", text: (row) => row.currency ?? "no definition" },
    ]);
    this.instruments = exposureTable("Net exposure by instrument", [
      { name: "instrument", title: "Instrument", left: true, class: "name", value: (row) => row.instrument, text: (row) => row.instrument },
      { name: "venue", title: "Venue", left: true, class: "text mid", value: (row) => row.venue, text: (row) => row.venue },
    ], (row) => go(address("market", [row.instrument], { venue: row.venue })));
    this.element = h("div", { class: "grid tall" },
      h("div", { class: "tiles" }, ...Object.values(this.tiles).map((one) => one.element)),
      stack(this.objections, panel("Strategies", this.strategies.element), panel("Limits", this.limits.element)),
      stack(panel("Net exposure by currency", this.currencies.element), panel("Net exposure by instrument", this.instruments.element)));
  }

  #limitTable() {
    const amount = (row, value) => (value === null ? "–" : COUNTS.has(row.measure) ? number(value) : compact(value));
    return new Table({
      label: "Limits", key: (row) => `${row.basis}|${row.strategy}|${row.measure}`, sort: "usage", descending: true,
      empty: "Nothing is limited: the section [risk] of the settings sets limits, and trading processes report theirs.",
      search: (row) => `${row.strategy} ${row.measure} ${row.level}`,
      columns: [
        { name: "strategy", title: "Strategy", left: true, class: "name", value: (row) => row.strategy, text: (row) => row.strategy },
        { name: "measure", title: "Measure", left: true, class: "text", value: (row) => row.measure, text: (row) => row.measure.replaceAll("_", " ") },
        { name: "value", title: "Value", text: (row) => amount(row, row.value), hint: (row) => row.reason ?? "" },
        { name: "soft", title: "Soft", class: "mid", text: (row) => amount(row, row.soft_limit) },
        { name: "hard", title: "Hard", class: "mid", text: (row) => amount(row, row.hard_limit) },
        { name: "usage", title: "Used", value: (row) => row.usage, text: (row) => percent(row.usage, 0), tone: (row) => LEVEL_TONES[row.level] },
        { name: "level", title: "Level", left: true, class: "text mid", value: (row) => row.level, text: (row) => (row.value === null ? "not known" : row.level), tone: (row) => (row.value === null ? "warn" : LEVEL_TONES[row.level]),
          hint: (row) => row.reason ?? "" },
        { name: "since", title: "Since", class: "text mid", text: (row, now) => (row.since_ns === null ? "–" : recent(fromNs(row.since_ns), now)) },
        { name: "basis", title: "From", left: true, class: "text wide", value: (row) => row.basis, text: (row) => row.basis },
      ],
    });
  }

  #strategyTable(go) {
    return new Table({
      label: "Risk of strategies", key: (row) => row.strategy, sort: "strategy", empty: "No strategy has reported yet.",
      open: (row) => go(address("strategies", [row.strategy])),
      search: (row) => `${row.strategy} ${row.regime ?? ""}`,
      columns: [
        { name: "strategy", title: "Strategy", left: true, class: "name", value: (row) => row.strategy, text: (row) => row.strategy },
        { name: "regime", title: "Regime", left: true, class: "text", value: (row) => row.regime, text: (row) => row.regime ?? this.status.regime ?? "–", hint: (row) => (row.regime === null ? "the desk's: the strategy has reported none" : "") },
        { name: "day", title: "Today", ...signed("daily_pnl") },
        { name: "day_r", title: "in R", class: "mid", ...multiple("daily_r") },
        { name: "week_r", title: "Week in R", class: "wide", ...multiple("weekly_r") },
        { name: "open_r", title: "Open R", ...multiple("current_r") },
        { name: "red", title: "Red days", class: "mid", value: (row) => row.daily_loss_streak, text: (row) => number(row.daily_loss_streak), tone: (row) => (row.daily_loss_streak ? "warn" : "") },
        { name: "positions", title: "Positions", class: "mid", value: (row) => row.open_positions, text: (row) => number(row.open_positions) },
      ],
    });
  }

  enter() {
    this.polls = [
      poll("risk", {}, POLL_SECONDS, (body) => {
        this.report = body;
        this.limits.stale = true; // their use changes
      }),
      poll("system/status", {}, POLL_SECONDS, (body) => (this.status = body)),
    ];
  }

  leave() {
    for (const one of this.polls) one.stop();
  }

  filter(text) {
    for (const table of [this.limits, this.strategies, this.currencies, this.instruments]) table.filter(text);
  }

  focus() {
    this.limits.element.focus();
  }

  render(now) {
    const { report, status, tiles } = this;
    if (report !== undefined) this.#exposure(report, now);
    if (status === undefined) return;
    const count = status.objections.length;
    tiles.trade.set(status.can_trade ? "yes" : "no", count ? `${count} ${count === 1 ? "objection" : "objections"} · ${status.state}` : `no objection · ${status.state}`, status.can_trade ? "good" : "bad");
    tiles.regime.set(status.regime ?? "–", status.reasons.regime ?? `active: ${status.active_strategy ?? "none"}`, "");
    setText(this.objections.note, number(count));
    if (this.shown !== status.objections.join("\n")) {
      this.shown = status.objections.join("\n");
      const lines = status.objections.map((text) => h("li", {}, h("span", { class: `dot ${STATE_TONES[status.state]}` }), h("span", { class: "detail", title: text }, text)));
      fill(this.objectionList, ...(lines.length ? lines : [h("li", { class: "empty" }, "Nothing that the recorder knows speaks against trading. It is not a permission.")]));
    }
    this.strategies.render(status.strategies, now);
  }

  #exposure(report, now) {
    const { gross, net, day, week, breached, positions } = this.tiles;
    gross.set(compact(report.gross_exposure), report.reasons.gross_exposure ?? "sum of the sizes");
    net.set(compact(report.net_exposure), report.reasons.net_exposure ?? "long minus short", tone(report.net_exposure));
    day.set(change(report.daily_pnl), report.daily_r === null ? report.reasons.daily_r : `${change(report.daily_r)} R`, tone(report.daily_pnl));
    week.set(change(report.weekly_pnl), report.weekly_r === null ? report.reasons.weekly_r : `${change(report.weekly_r)} R`, tone(report.weekly_pnl));
    const levels = { soft: 0, hard: 0 };
    for (const { level } of report.limits) if (level in levels) levels[level] += 1;
    const worst = levels.hard ? "bad" : levels.soft ? "warn" : report.limits.length ? "good" : "";
    const exceeded = [levels.hard && `${levels.hard} hard`, levels.soft && `${levels.soft} soft`].filter(Boolean).join(", ");
    breached.set(number(report.limits.length), exceeded ? `exceeded: ${exceeded}` : "none exceeded", worst);
    positions.set(number(report.open_positions), `${report.instruments.length} instruments`);
    this.limits.render(report.limits, now);
    this.currencies.render(report.currencies, now);
    this.instruments.render(report.instruments, now);
  }
}

function exposureTable(label, columns, open = null) {
  return new Table({
    label, open, empty: "Flat.", sort: columns[0].name, search: (row) => columns.map((column) => column.text(row)).join(" "),
    key: (row) => columns.map((column) => column.text(row)).join("|"),
    columns: [
      ...columns,
      { name: "net", title: "Net value", value: (row) => row.net, text: (row) => change(row.net, 0), tone: (row) => tone(row.net) },
    ],
  });
}
