// Providers: what stands in front of each source of market data, and a question to one of them.

import { fill, h, panel, setText, stack } from "../dom.js";
import { choice, field, Suggestions, values } from "../forms.js";
import { decimals, duration, fromNs, moment, number, percent } from "../formats.js";
import { get, poll } from "../rest.js";
import { Table } from "../table.js";

const POLL_SECONDS = 1;
const BREAKERS = { closed: "good", half_open: "warn", open: "bad" };
const FOUND = {
  hit: "memory", shared: "Redis", stale: "the cache, while it is renewed", stale_if_error: "the cache, for lack of a new answer", collapsed: "a call of another request", miss: "a call",
};
const QUALITIES = { good: "good", stale: "warn", crossed: "bad", not_current: "warn" };

const sum = (counts) => Object.values(counts).reduce((total, count) => total + count, 0);
const listed = (counts) => Object.entries(counts).map(([name, count]) => `${name.replaceAll("_", " ")} ${number(count)}`).join(" · ") || "–";
const hitRatio = ({ cache }) => {
  const all = sum(cache.answers);
  return all ? sum(Object.fromEntries(Object.entries(cache.answers).filter(([name]) => name !== "miss"))) / all : null;
};

const price = (value) => number(value, decimals(value ?? 0));

export class ProvidersView {
  topics = [];
  title = "Providers";

  constructor({ store, draw }) {
    Object.assign(this, { store, draw });
    this.table = this.#table();
    this.symbols = new Suggestions("known-symbols");
    this.failed = h("ul", { class: "list", "aria-label": "Providers that did not start" });
    this.answer = h("dl", { class: "figures", "aria-label": "Answer", "aria-live": "polite" });
    this.panel = panel("Providers", this.table.element, this.failed);
    this.panel.element.classList.add("wide-panel");
    this.provider = choice("provider", []);
    const symbol = h("input", { name: "symbol", list: "known-symbols", required: true, maxlength: "128", autocomplete: "off" });
    this.form = h("form", { class: "line", "aria-label": "Ask", onsubmit: (event) => this.#ask(event) }, field("Provider", this.provider), field("Symbol", symbol), h("button", { class: "act" }, "Ask"));
    this.element = h("div", { class: "grid control" }, this.panel.element, stack(panel("Ask a provider", this.form, this.answer)), this.symbols.element);
  }

  #table() {
    return new Table({
      label: "Providers", key: (row) => row.name, sort: "name", empty: "No provider is enabled: the setting providers.enabled names them.",
      columns: [
        { name: "name", title: "Provider", left: true, class: "name", value: (row) => row.name, text: (row) => row.name },
        { name: "breaker", title: "Breaker", left: true, class: "text", value: (row) => row.breaker.state, text: ({ breaker }) => breaker.state.replace("_", " ") + (breaker.state === "open" ? `, ${duration(breaker.retry_seconds)}` : ""),
          tone: (row) => BREAKERS[row.breaker.state] ?? "", hint: (row) => row.breaker.reason },
        { name: "queue", title: "Calls / most", help: "Calls at once · requests that wait: interactive, background", value: (row) => row.queue.calls,
          text: ({ queue }) => `${number(queue.calls)} / ${number(queue.max_calls)} · ${number(queue.interactive)}, ${number(queue.background)} wait` },
        { name: "hits", title: "From the cache", class: "mid", value: hitRatio, text: (row) => percent(hitRatio(row), 0), hint: ({ cache }) => `${listed(cache.answers)}; ${number(cache.entries)} entries` },
        { name: "budget", title: "Budget today", class: "mid", value: ({ budget }) => budget.spent, text: ({ budget }) => (budget.per_day ? `${number(budget.spent ?? 0)} / ${number(budget.per_day)}` : "no limit"),
          hint: ({ budget }) => `resets ${moment(fromNs(budget.reset_ns))}`, tone: ({ budget }) => (budget.per_day && (budget.spent ?? 0) >= budget.per_day ? "bad" : "") },
        { name: "rate", title: "Rate limit", class: "wide", value: ({ rate }) => rate.tokens, text: ({ rate }) => (rate.requests_per_second ? `${number(rate.tokens ?? rate.burst, 1)} of ${number(rate.burst)}, ${number(rate.requests_per_second, 1)}/s` : "no limit"),
          hint: ({ rate }) => (rate.pause_seconds ? `paused for ${duration(rate.pause_seconds)}` : "") },
        { name: "calls", title: "Calls", left: true, class: "text mid", value: (row) => sum(row.calls), text: (row) => listed(row.calls), tone: (row) => (sum(row.calls) > (row.calls.ok ?? 0) ? "warn" : "") },
        { name: "retries", title: "Retries", class: "wide", value: (row) => row.retries, text: (row) => number(row.retries) },
      ],
    });
  }

  enter() {
    this.poll = poll("providers", {}, POLL_SECONDS, (body) => {
      this.report = body;
      const names = body.items.map((one) => one.name);
      if (this.named === names.join("\n")) return;
      this.named = names.join("\n");
      fill(this.provider, ...names.map((name) => h("option", { value: name }, name)));
    });
  }

  leave() {
    this.poll.stop();
  }

  filter(text) {
    this.table.filter(text);
  }

  focus() {
    this.table.element.focus();
  }

  async #ask(event) {
    event.preventDefault();
    const { provider, symbol } = values(this.form);
    const rows = (pairs) => fill(this.answer, ...pairs.map(([name, value, tone]) => h("div", {}, h("dt", {}, name), h("dd", { class: tone ?? "" }, value))));
    try {
      const found = await get(`data/${encodeURIComponent(provider)}/${encodeURIComponent(symbol)}`);
      rows([
        ["Price", `${price(found.price)} ${found.currency}`], ["Bid", price(found.bid)], ["Ask", price(found.ask)], ["Exchange", found.exchange], ["Age", duration(found.age_seconds)],
        ["Quality", found.quality.replace("_", " ") + (found.detail ? `: ${found.detail}` : ""), QUALITIES[found.quality]], ["Answered from", FOUND[found.found] ?? found.found], ["Time", duration(found.response_seconds)],
      ]);
    } catch (error) {
      rows([[error.kind || "Failed", error.message, "bad"]]);
    }
    this.draw();
  }

  render(now) {
    const market = [...this.store.entries("market").values()].map((entry) => entry.data?.instrument).filter(Boolean);
    this.symbols.offer(market);
    if (this.report === undefined) return;
    const { items, failed } = this.report;
    this.table.render(items, now);
    setText(this.panel.note, number(items.length));
    const shown = JSON.stringify(failed);
    if (this.shown === shown) return;
    this.shown = shown;
    fill(this.failed, ...failed.map((one) => h("li", {}, h("span", { class: "dot bad" }), h("b", {}, one.name), h("span", { class: "detail", title: one.reason }, one.reason))));
  }
}
