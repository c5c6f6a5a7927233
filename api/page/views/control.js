// Control: halts with a switch, order requests that wait and work, templates, and a form for a new request with its checks.

import { fill, h, panel, setText, stack, tile } from "../dom.js";
import { choice, Confirmation, field, Suggestions, values } from "../forms.js";
import { duration, fromNs, number, recent, stamp } from "../formats.js";
import { StoredList } from "../lists.js";
import { checked, wanted } from "../requests.js";
import { get, poll, send } from "../rest.js";
import { Table } from "../table.js";
import { Templates } from "./templates.js";

const POLL_SECONDS = 1;
const PRIORITIES = ["normal", "low", "high", "urgent"];
const PRICED = { market: [], limit: ["limit_price"], stop: ["stop_price"], stop_limit: ["limit_price", "stop_price"] };
const TONES = { queued: "", taken: "warn", working: "warn", done: "good", rejected: "bad", cancelled: "calm", expired: "calm", dead: "bad", unresolved: "bad" };
const CANCELLABLE = new Set(["queued", "taken", "working"]);
const RESOLVABLE = new Set(["unresolved", "dead"]);
const OUTCOMES = [["done", "It is done"], ["rejected", "It was rejected"], ["cancelled", "It was cancelled"], ["queued", "Try again"]];
const FINAL = new Set(["done", "rejected", "cancelled", "expired", "dead"]);
const READ_MS = 100;
const OFF = "Orders and halts are off: no key has the scope trade.";

export class ControlView {
  topics = ["orders"];
  title = "Control";

  constructor({ store, connection, draw }) {
    Object.assign(this, { store, draw });
    const recorder = () => connection.recorder;
    this.open = new StoredList("orders/requests", () => ({ recorder: recorder(), is_final: false }), timed);
    this.finished = new StoredList("orders/requests", () => ({ recorder: recorder(), is_final: true }), timed);
    this.confirmation = new Confirmation();
    this.tiles = {
      trading: tile("Trading"), halts: tile("Halts"), queued: tile("Queued"), held: tile("Taken or working"), oldest: tile("Oldest in the queue"), trouble: tile("Unresolved or dead"),
    };
    this.strategies = new Suggestions("known-strategies");
    this.instruments = new Suggestions("known-instruments");
    this.venues = new Suggestions("known-venues");
    this.templates = new Templates(this.confirmation, () => this.restored());
    this.haltTable = this.#haltTable();
    this.openTable = this.#requestTable("Open requests", "No request waits or works.", this.open);
    this.finishedTable = this.#requestTable("Finished requests", "No request has finished yet.", this.finished);
    this.off = h("p", { class: "notice", role: "note" }, `${OFF} `, h("code", {}, "decahertz keys create NAME --scope read --scope trade"), " makes one.");
    this.off.hidden = true;
    this.haltPanel = panel("Halts", this.off, this.haltTable.element, this.#haltForm());
    this.openPanel = panel("Open requests", this.openTable.element);
    this.finishedPanel = panel("Finished requests", this.finishedTable.element);
    this.newPanel = panel("New request", this.#requestForm());
    this.element = h("div", { class: "grid tall control" },
      h("div", { class: "tiles six" }, ...Object.values(this.tiles).map((one) => one.element)),
      stack(this.haltPanel, this.newPanel), stack(this.openPanel, this.templates.panel, this.finishedPanel),
      this.strategies.element, this.instruments.element, this.venues.element, this.confirmation.element);
  }

  #haltTable() {
    return new Table({
      label: "Halts", key: (row) => row.halt_id, sort: "since", descending: true, empty: "Nothing is halted.",
      search: (row) => `${row.scope} ${row.strategy ?? ""} ${row.venue ?? ""} ${row.instrument ?? ""} ${row.reason}`,
      open: (row) => this.#resume(row),
      columns: [
        { name: "what", title: "Halted", left: true, class: "name", value: halted, text: halted, tone: () => "bad" },
        { name: "since", title: "Since", class: "text mid", value: (row) => row.since_ns, text: (row, now) => recent(fromNs(row.since_ns), now) },
        { name: "origin", title: "By", left: true, class: "text", value: (row) => row.origin, text: (row) => (row.origin === "person" ? row.actor : row.origin), hint: (row) => row.actor },
        { name: "reason", title: "Reason", left: true, class: "text message", text: (row) => row.reason, hint: (row) => row.reason },
        { name: "resume", title: "", left: true, class: "text", text: () => "Resume…" },
      ],
    });
  }

  #haltForm() {
    this.scope = choice("scope", [["desk", "The whole desk"], ["strategy", "A strategy"], ["instrument", "An instrument"]]);
    const strategy = field("Strategy", h("input", { name: "strategy", list: "known-strategies", required: true, maxlength: "128" }));
    const instrument = field("Instrument", h("input", { name: "instrument", list: "known-instruments", required: true, maxlength: "128" }));
    const venue = field("Venue", h("input", { name: "venue", list: "known-venues", placeholder: "every venue", maxlength: "128" }));
    const fit = () => {
      const { value } = this.scope;
      for (const [one, shown] of [[strategy, value === "strategy"], [instrument, value === "instrument"], [venue, value === "instrument"]]) {
        one.hidden = !shown;
        one.querySelector("input").disabled = !shown;
      }
    };
    this.scope.addEventListener("change", fit);
    this.haltSubmit = h("button", { class: "act danger" }, "Halt…");
    this.haltFields = h("form", { class: "line", "aria-label": "Halt", onsubmit: (event) => this.#halt(event) }, field("Halt", this.scope), strategy, instrument, venue, this.haltSubmit);
    fit();
    return this.haltFields;
  }

  #requestForm() {
    const text = (name, list, more = {}) => h("input", { name, list, required: true, maxlength: "128", autocomplete: "off", ...more });
    const amount = (name) => h("input", { name, type: "number", step: "any", required: true });
    const type = choice("order_type", Object.keys(PRICED).map((one) => [one, one.replace("_", " ")]));
    const prices = { limit_price: field("Limit price", amount("limit_price")), stop_price: field("Stop price", amount("stop_price")) };
    const fit = () => {
      for (const [name, one] of Object.entries(prices)) {
        one.hidden = !PRICED[type.value].includes(name);
        one.querySelector("input").disabled = one.hidden;
      }
    };
    type.addEventListener("change", fit);
    this.checkButton = h("button", { type: "button", onclick: () => this.#check() }, "Check");
    this.submitButton = h("button", { class: "act" }, "Submit…");
    this.verdict = h("ul", { class: "list", "aria-label": "Checks", "aria-live": "polite" });
    this.order = h("form", { class: "fields", "aria-label": "New request", onsubmit: (event) => this.#submit(event), oninput: () => fill(this.verdict) },
      field("Strategy", text("strategy", "known-strategies")), field("Venue", text("venue", "known-venues")), field("Instrument", text("instrument", "known-instruments")),
      field("Side", choice("side", ["buy", "sell"])), field("Quantity", h("input", { name: "quantity", type: "number", step: "any", min: "0", required: true })), field("Type", type),
      prices.limit_price, prices.stop_price,
      field("Time in force", choice("time_in_force", ["day", "gtc", "ioc", "fok"])), field("Priority", choice("priority", PRIORITIES)),
      field("Notes", h("input", { name: "notes", maxlength: "1024", autocomplete: "off" })),
      h("div", { class: "actions" }, this.checkButton, this.submitButton));
    fit();
    return h("div", {}, this.order, this.verdict);
  }

  #requestTable(label, empty, list) {
    return new Table({
      label, empty, more: () => list.more(), key: (row) => row.id, sort: "time", descending: true,
      search: (row) => `${row.body.strategy} ${row.body.venue} ${row.body.instrument} ${row.body.kind} ${row.state} ${row.submitted_by}`,
      open: (row) => this.#detail(row),
      columns: [
        { name: "time", title: "Submitted", class: "text mid", value: (row) => row.time, text: (row, now) => recent(row.time, now, 1) },
        { name: "strategy", title: "Strategy", left: true, class: "name mid", value: (row) => row.body.strategy, text: (row) => row.body.strategy },
        { name: "instrument", title: "Instrument", left: true, class: "name", value: (row) => row.body.instrument, text: (row) => row.body.instrument, hint: (row) => `${row.body.kind} at ${row.body.venue}` },
        { name: "what", title: "Order", left: true, class: "text", text: (row) => wanted(row.body), tone: (row) => ({ buy: "up", sell: "down" })[row.body.side] ?? "" },
        { name: "priority", title: "Priority", left: true, class: "text wide", value: (row) => PRIORITIES.indexOf(row.body.priority), text: (row) => row.body.priority, tone: (row) => (row.body.priority === "urgent" ? "warn" : "") },
        { name: "state", title: "State", left: true, class: "text", value: (row) => row.state, text: (row) => (row.cancel_requested_ns && row.state === "working" ? "cancelling" : row.state), tone: (row) => TONES[row.state], hint: (row) => row.reason ?? "" },
        { name: "holder", title: "Process", left: true, class: "text wide", value: (row) => row.holder, text: (row) => row.holder ?? "–" },
      ],
    });
  }

  // Live state.

  enter() {
    this.open.load();
    this.finished.load();
    this.templates.enter();
    this.polls = [poll("risk/halts", {}, POLL_SECONDS, (body) => (this.halts = body)), poll("system/status", {}, POLL_SECONDS, (body) => (this.status = body))];
  }

  leave() {
    for (const one of this.polls) one.stop();
    this.templates.leave();
    this.open.close();
    this.finished.close();
  }

  restored() {
    this.open.load();
    this.finished.load();
  }

  /** A change of a request has its state; what a new one wants is read from the list. */
  event({ topic, data }) {
    if (topic !== "orders" || !("attempts" in data)) return; // an order, not a request
    const before = this.open.recent.known.get(data.request_id);
    if (before === undefined) {
      this.reading ??= setTimeout(() => this.#read(), READ_MS);
      return;
    }
    const { state, holder, attempts, reason, order_id } = data;
    const asked = data.type === "order_cancel_requested" ? data.time_ns : before.cancel_requested_ns;
    this.#put({ ...before, state, holder, attempts, reason, order_id, cancel_requested_ns: asked });
  }

  async #read() {
    this.reading = null;
    const { items } = await get("orders/requests", { limit: 100 }).catch(() => ({ items: [] }));
    for (const item of items) this.#put(timed(item));
    this.draw();
  }

  #put(item) {
    if (FINAL.has(item.state)) this.open.recent.remove(item.id);
    else this.finished.recent.remove(item.id);
    (FINAL.has(item.state) ? this.finished : this.open).recent.push(item);
  }

  filter(text) {
    for (const table of [this.haltTable, this.openTable, this.finishedTable, this.templates.table]) table.filter(text);
  }

  focus() {
    this.openTable.element.focus();
  }

  // Actions.

  #halt(event) {
    event.preventDefault();
    const body = values(this.haltFields);
    this.confirmation.ask({
      title: `Halt ${halted(body)}?`,
      text: "From now on nothing of it is queued, taken or begun, until a person resumes. Orders in the market stay with their process.",
      button: "Halt now", needsReason: true,
      act: async (reason) => {
        await send("POST", "risk/halts", { ...body, reason });
        await this.#reload();
      },
    });
  }

  #resume(halt) {
    this.confirmation.ask({
      title: `Resume ${halted(halt)}?`, text: "Requests that wait may be taken at once.", button: "Resume", needsReason: true,
      facts: [["Halted by", halt.origin === "person" ? halt.actor : `${halt.origin} (${halt.actor})`], ["Since", stamp(fromNs(halt.since_ns))], ["Reason", halt.reason]],
      act: async (reason) => {
        await send("POST", `risk/halts/${encodeURIComponent(halt.halt_id)}/resume`, { reason });
        await this.#reload();
      },
    });
  }

  #body() {
    return { kind: "equity", ...values(this.order) };
  }

  async #check() {
    if (!this.order.reportValidity()) return false;
    try {
      const { passes, violations } = await send("POST", "orders/check", this.#body());
      const lines = violations.map(({ rule, reason }) => checked("bad", rule, reason));
      fill(this.verdict, ...(passes ? [checked("good", "passes", "every check; the submission checks again")] : lines));
      return passes;
    } catch (error) {
      fill(this.verdict, checked("bad", error.kind || "refused", error.message));
      return false;
    } finally {
      this.draw();
    }
  }

  async #submit(event) {
    event.preventDefault();
    if (!(await this.#check())) return;
    const body = this.#body();
    const key = crypto.randomUUID?.() ?? [...crypto.getRandomValues(new Uint32Array(4))].join("-");
    this.confirmation.ask({
      title: "Submit this request?", text: "It passes every check now. The trading process takes it from the queue and decides.", button: "Submit",
      facts: Object.entries(body).filter(([name]) => name !== "kind").map(([name, value]) => [titled(name), String(value)]),
      act: async () => {
        const receipt = await send("POST", "orders", body, { "Idempotency-Key": key });
        fill(this.verdict, checked("good", "queued", receipt.request_id));
        this.restored();
      },
    });
  }

  #detail(row) {
    const { body } = row;
    const facts = [
      ["Request", row.request_id], ["Order", `${wanted(body)} ${body.instrument} at ${body.venue}`], ["Strategy", body.strategy], ["State", row.state], ["Submitted", `${stamp(row.time)} by ${row.submitted_by}`],
      ["Valid until", row.valid_until_ns === null ? null : stamp(fromNs(row.valid_until_ns))], ["Process", row.holder && `${row.holder}, attempt ${row.attempts}`], ["Became order", row.order_id], ["Reason", row.reason], ["Notes", body.notes],
    ].filter(([, value]) => value);
    const done = async () => {};
    if (CANCELLABLE.has(row.state)) {
      const text = row.state === "working" ? "Its process is asked to cancel the order; its answer decides." : "Nothing was sent to the venue: it is cancelled at once.";
      this.confirmation.ask({
        title: "Cancel this request?", text, facts, button: "Cancel the request", needsReason: true, reason: "",
        act: async (reason) => {
          await send("DELETE", `orders/${encodeURIComponent(row.request_id)}?${new URLSearchParams({ reason })}`);
          this.restored();
        },
      });
    } else if (RESOLVABLE.has(row.state)) {
      const outcome = choice("outcome", OUTCOMES);
      this.confirmation.ask({
        title: "Resolve this request", text: row.state === "dead" ? "Every attempt ended before it was begun: nothing was sent." : "Its process was lost while it worked: look at the venue first.", button: "Resolve", needsReason: true,
        facts: [...facts, ["Outcome", outcome]],
        act: async (reason) => {
          await send("POST", `orders/${encodeURIComponent(row.request_id)}/resolve`, { outcome: outcome.value, reason });
          this.restored();
        },
      });
    } else {
      this.confirmation.ask({ title: "Request", text: "", facts, button: "Close", act: done });
    }
  }

  async #reload() {
    this.halts = await get("risk/halts");
    this.draw();
  }

  render(now) {
    this.#suggest();
    const open = this.open.recent.items;
    this.openTable.render(open, now, this.open.recent.version);
    this.finishedTable.render(this.finished.recent.items, now, this.finished.recent.version);
    setText(this.openPanel.note, this.open.note);
    setText(this.finishedPanel.note, this.finished.note);
    this.#counts(open, now);
    this.templates.render(now);
    if (this.halts !== undefined) this.#halts(this.halts, now);
  }

  #counts(open, now) {
    const { queued, held, oldest, trouble } = this.tiles;
    const of = (...states) => open.filter((row) => states.includes(row.state));
    const waiting = of("queued");
    const working = of("working").length;
    queued.set(number(waiting.length), waiting.length ? "wait for a process" : "nothing waits");
    held.set(number(of("taken").length + working), `${number(working)} may be in the market`);
    const since = Math.min(...waiting.map((row) => row.time));
    oldest.set(waiting.length ? duration(Math.max(0, now - since) / 1000) : "–", waiting.length ? "since its submission" : "", waiting.length && now - since > 60_000 ? "warn" : "");
    const bad = of("unresolved").length;
    const dead = this.finished.recent.items.filter((row) => row.state === "dead").length;
    trouble.set(`${number(bad)} / ${number(dead)}`, bad ? "look at the venue, then resolve" : "none needs a person", bad ? "bad" : "");
  }

  #halts({ is_enabled: enabled, items }, now) {
    const desk = items.some((halt) => halt.scope === "desk");
    const { trading, halts } = this.tiles;
    const objections = this.status?.objections.length ?? 0;
    if (desk) trading.set("halted", "the whole desk", "bad");
    else if (this.status) trading.set(this.status.can_trade ? "can trade" : "objections", `${number(objections)} ${objections === 1 ? "objection" : "objections"}`, this.status.can_trade ? "good" : "warn");
    halts.set(number(items.length), items.length ? "until a person resumes" : "nothing is halted", items.length ? "bad" : "good");
    this.off.hidden = enabled;
    for (const control of [this.haltSubmit, this.checkButton, this.submitButton]) control.disabled = !enabled;
    setText(this.haltPanel.note, number(items.length));
    this.haltTable.render(items, now);
  }

  #suggest() {
    const market = [...this.store.entries("market").values()].map((entry) => entry.data).filter(Boolean);
    this.instruments.offer(market.map((one) => one.instrument));
    this.venues.offer(market.map((one) => one.venue));
    this.strategies.offer((this.status?.strategies ?? []).map((one) => one.strategy));
  }
}

const timed = (one) => ({ ...one, id: one.request_id, time: fromNs(one.created_ns) });

/** The thing that a halt covers, for people. */
function halted({ scope, strategy, venue, instrument }) {
  if (scope === "desk") return "the whole desk";
  return scope === "strategy" ? `strategy ${strategy}` : `${instrument}${venue ? ` at ${venue}` : ""}`;
}

const titled = (name) => name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");
