// What a desk looks at first: health, cycles, ledger, feeds, alerts, money.

import { fill, h, panel, setText, stack, tile } from "../dom.js";
import { Digits, fillTable, timedFill } from "../fills.js";
import { change, clock, compact, duration, fromNs, number, plural, recent, seconds } from "../formats.js";
import { StoredList } from "../lists.js";
import { poll } from "../rest.js";
import { Pulse } from "../pulse.js";
import { address } from "../router.js";
import { Sparkline } from "../sparkline.js";
import { Table } from "../table.js";
import { colours } from "../theme.js";
import { VERDICTS, verdictTone } from "./market.js";

const POLL_SECONDS = 2;
const LEDGER_SECONDS = 1;
const ALWAYS_FIRES = "DeadMansSwitch";
export const HEALTH_TONES = { ok: "good", degraded: "warn", failed: "bad" };

export class OverviewView {
  topics = ["metrics:strategy:*", "fills"];
  title = "Overview";

  constructor({ store, connection, go }) {
    this.store = store;
    this.connection = connection;
    this.colours = colours();
    this.alerts = new Map();
    this.problems = "";
    this.regimes = new Map();
    this.fills = new StoredList("fills", () => ({ recorder: connection.recorder }), timedFill);
    this.tiles = {
      health: tile("Health", "#/system"),
      cycles: tile("Cycles"),
      trade: tile("Can trade", "#/risk"),
      ledger: tile("Ledger", "#/system"),
      feeds: tile("Instruments", "#/market"),
      alerts: tile("Alerts"),
      day: tile("P&L today", "#/strategies"),
      open: tile("Open P&L", "#/strategies"),
    };
    this.pulse = new Pulse();
    this.#panels(go);
    this.element = h(
      "div",
      { class: "grid tall overview" },
      h("div", { class: "tiles" }, ...Object.values(this.tiles).map((one) => one.element)),
      this.beat.element,
      stack(this.strategies, this.fillPanel),
      stack(this.firing, this.feeds, this.parts),
    );
  }

  #panels(go) {
    this.beat = panel("Cycles of the last minute", this.pulse.canvas);
    this.beat.element.classList.add("wide-panel");
    this.strategyTable = new Table({
      label: "Strategies",
      key: (row) => row.topic,
      sort: "strategy",
      open: (row) => go(address("strategies", [row.data.strategy])),
      empty: "No strategy has reported yet.",
      columns: this.#strategyColumns(),
    });
    this.strategies = panel("Strategies", this.strategyTable.element);
    this.fillTable = fillTable(go, this.fills, new Digits());
    this.fillPanel = panel("Fills", this.fillTable.element);
    this.alertList = h("ul", { class: "list" });
    this.firing = panel("Alerts", this.alertList);
    this.feedTable = new Table({
      label: "Feeds",
      key: (feed) => feed.name,
      empty: "No feed is enabled.",
      columns: [
        { name: "name", title: "Feed", class: "name", text: (feed) => feed.name },
        { name: "state", title: "State", class: "text", text: (feed) => feed.state, tone: (feed) => (feed.state === "running" ? "good" : feed.state === "finished" ? "" : "bad") },
        { name: "events", title: "Events", text: (feed) => number(feed.events) },
        { name: "restarts", title: "Restarts", text: (feed) => number(feed.restarts), tone: (feed) => (feed.restarts ? "warn" : "") },
        { name: "last", title: "Last event", text: (feed, now) => (feed.last_event_ns ? seconds(Math.max(0, (now - fromNs(feed.last_event_ns)) / 1000)) : "never") },
      ],
    });
    this.feeds = panel("Feeds", this.feedTable.element);
    this.partList = h("ul", { class: "list" });
    this.parts = panel("Parts", this.partList);
  }

  #strategyColumns() {
    const tone = (name) => (row) => (row.data[name] > 0 ? "up" : row.data[name] < 0 ? "down" : "");
    return [
      { name: "strategy", title: "Strategy", left: true, class: "name", value: (row) => row.data.strategy, text: (row) => row.data.strategy },
      { name: "day", title: "Today", text: (row) => change(row.data.daily_pnl), tone: tone("daily_pnl") },
      { name: "open", title: "Open", text: (row) => change(row.data.unrealised_pnl), tone: tone("unrealised_pnl") },
      { name: "spark", title: "Realised, 30 s", class: "chart", cell: (cell, row) => {
        if (cell.spark === undefined) cell.append((cell.spark = new Sparkline(110, 22, 300)).canvas);
        cell.spark.draw(row.spark, this.colours.accent);
      } },
      { name: "positions", title: "Positions", class: "mid", text: (row) => number(row.data.open_positions) },
      { name: "exposure", title: "Exposure", class: "mid", text: (row) => compact(row.data.exposure) },
      { name: "drawdown", title: "Drawdown", text: (row) => number(row.data.drawdown, 2) },
      { name: "regime", title: "Regime", left: true, class: "text wide", text: (row) => this.regimes.get(row.data.strategy) ?? "–" },
    ];
  }

  enter() {
    this.fills.load();
    this.store.prefill("strategy");
    const failed = (error) => (this.problems = error.message);
    this.polls = [
      poll("health", {}, POLL_SECONDS, (body) => this.#health(body), { accepted: [503], failed }),
      poll("ledger", {}, LEDGER_SECONDS, (body) => this.#ledger(body)),
      poll("collectors", {}, POLL_SECONDS, (body) => (this.plugins = body)),
      poll("system/status", {}, POLL_SECONDS, (body) => this.#status(body)),
      poll("metrics/summary", { collector: "market" }, LEDGER_SECONDS, (body) => this.#markets(body)),
      poll("alerts", { state: "firing", limit: 100 }, POLL_SECONDS * 5, (body) => this.#alerts(body.items, true)),
    ];
  }

  leave() {
    this.fills.close();
    for (const one of this.polls) one.stop();
  }

  restored() {
    this.leave();
    this.enter();
  }

  recolour() {
    this.colours = colours();
    this.pulse.recolour();
  }

  event(message) {
    if (message.topic === "alerts") this.#alerts([message.data], false);
    else if (message.topic === "fills") this.fills.recent.push(timedFill({ ...message.data, time_ns: message.time_ns }));
  }

  #health(report) {
    this.report = report;
    const worse = report.components.filter((part) => part.health !== "ok");
    const detail = worse.length ? worse.map((part) => part.name).join(", ") : `${report.components.length} parts`;
    this.tiles.health.set(report.health, detail, HEALTH_TONES[report.health]);
    const lines = report.components.map((part) =>
      h("li", {}, h("span", { class: `dot ${HEALTH_TONES[part.health]}` }), h("b", {}, part.name),
        h("span", { class: "detail" }, part.detail || part.health)));
    fill(this.partList, ...lines);
    setText(this.parts.note, `${report.recorder} · ${report.version}`);
  }

  #status({ can_trade: can, objections, regime, strategies }) {
    const detail = objections.length ? objections[0] : regime === null ? "no objection" : `no objection · ${regime}`;
    this.tiles.trade.set(can ? "yes" : "no", detail, can ? "good" : "bad");
    this.regimes = new Map(strategies.map((one) => [one.strategy, one.regime ?? regime]));
  }

  #ledger(report) {
    let [stored, spooled, dropped] = [0, 0, 0];
    for (const stream of report.streams) {
      stored += stream.stored;
      spooled += stream.spooled;
      for (const rows of Object.values(stream.dropped)) dropped += rows;
    }
    const tone = !report.balanced ? "bad" : dropped ? "warn" : "good";
    const text = report.balanced ? `${compact(stored)} stored` : "unbalanced";
    this.tiles.ledger.set(text, `${number(spooled)} spooled · ${number(dropped)} dropped`, tone);
  }

  #alerts(changed, all) {
    if (all) this.alerts.clear();
    for (const alert of changed) {
      if (alert.name === ALWAYS_FIRES) continue;
      if (alert.state === "firing") this.alerts.set(alert.id, alert);
      else this.alerts.delete(alert.id);
    }
    const firing = [...this.alerts.values()].sort((a, b) => b.starts_ns - a.starts_ns);
    const pages = firing.filter((alert) => alert.severity === "page").length;
    this.tiles.alerts.set(number(firing.length), firing.length ? `${pages} to page for` : "nothing fires", pages ? "bad" : firing.length ? "warn" : "good");
    const now = this.connection.now();
    const lines = firing.slice(0, 50).map((alert) =>
      h("li", {}, h("span", { class: `dot ${alert.severity === "page" ? "bad" : "warn"}` }), h("b", {}, alert.name),
        h("span", { class: "detail" }, alert.summary), h("time", {}, recent(fromNs(alert.starts_ns), now))));
    fill(this.alertList, ...(lines.length ? lines : [h("li", { class: "empty" }, "No alert fires.")]));
  }

  render(now) {
    const { store, tiles } = this;
    this.pulse.draw(store.cycleTimes, store.ages, now);
    const tone = store.cycleRate === null ? "" : store.missing ? "warn" : "good";
    tiles.cycles.set(store.cycleRate === null ? "–" : `${number(store.cycleRate, 1)} /s`, `${number(store.missing)} missing since ${this.#since(now).slice(0, 5)}`, tone);
    const typical = store.ages.quantile(0.5);
    const worst = store.ages.quantile(0.99);
    setText(this.beat.note, typical === null ? "" : `cycle to screen ${number(typical, 1)} ms, p99 ${number(worst, 1)} ms`);
    this.#money();
    this.strategyTable.render(store.entries("strategy").values(), now);
    this.fillTable.render(this.fills.recent.items, now, this.fills.recent.version);
    setText(this.fillPanel.note, this.fills.note);
    if (this.plugins) this.feedTable.render(this.plugins.feeds, now);
  }

  #since(now) {
    this.opened ??= now;
    return clock(this.opened);
  }

  /** Instruments by verdict. The figures of all of them ten times a second would be more than this view shows. */
  #markets({ collectors: [market] }) {
    const totals = market?.metrics.find((metric) => metric.name === "verdict")?.states ?? {};
    const found = VERDICTS.filter((verdict) => totals[verdict]);
    const tones = found.map(verdictTone);
    const tone = tones.includes("bad") ? "bad" : tones.includes("warn") ? "warn" : "good";
    const parts = found.map((verdict) => `${totals[verdict]} ${verdict}`);
    this.tiles.feeds.set(number(market?.keys ?? 0), parts.join(" · "), found.length ? tone : "");
  }

  #money() {
    let [day, open, positions] = [0, 0, 0];
    for (const { data } of this.store.entries("strategy").values()) {
      day += data.daily_pnl;
      open = open === null || data.unrealised_pnl === null ? null : open + data.unrealised_pnl;
      positions += data.open_positions;
    }
    const count = this.store.entries("strategy").size;
    const tone = (value) => (value > 0 ? "up" : value < 0 ? "down" : "");
    this.tiles.day.set(count ? change(day) : "–", `${count} strategies, realised`, tone(day));
    this.tiles.open.set(count ? change(open) : "–", open === null ? "a mark price is missing" : plural(positions, "position"), tone(open));
  }
}
