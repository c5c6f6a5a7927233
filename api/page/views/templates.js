// Templates of order requests: a table with their schedules, and a dialog with versions and checks that submits.

import { h, panel, setText } from "../dom.js";
import { fromNs, number, recent, stamp } from "../formats.js";
import { checked, wanted } from "../requests.js";
import { get, poll, send } from "../rest.js";
import { Table } from "../table.js";

const POLL_SECONDS = 2;
const MOST_VERSIONS = 5;
const RUNS = { submitted: "good", refused: "bad", missed: "bad" };
const CHECKS = { passed: "good", violated: "bad", off: "calm", not_applicable: "calm", not_reached: "calm" };
const SAID = { passed: "passes", off: "off: the settings do not ask for it", not_applicable: "says nothing about such a request", not_reached: "not reached: a halt speaks against it already" };

export class Templates {
  /** `confirmation` asks before something is submitted; `submitted()` is called afterwards. */
  constructor(confirmation, submitted) {
    Object.assign(this, { confirmation, submitted, items: null, problem: "" });
    this.table = new Table({
      label: "Templates", key: (row) => row.template_id, sort: "name", empty: "There is no template. POST /api/v1/templates makes one.",
      search: (row) => `${row.name} ${row.order.strategy} ${row.order.venue} ${row.order.instrument} ${row.description}`,
      open: (row) => this.#open(row),
      columns: [
        { name: "name", title: "Template", left: true, class: "name", value: (row) => row.name, text: (row) => row.name, hint: (row) => row.description },
        { name: "instrument", title: "Instrument", left: true, class: "name mid", value: (row) => row.order.instrument, text: (row) => row.order.instrument, hint: (row) => `${row.order.strategy} at ${row.order.venue}` },
        { name: "what", title: "Order", left: true, class: "text", text: (row) => wanted(row.order), tone: (row) => ({ buy: "up", sell: "down" })[row.order.side] ?? "" },
        { name: "version", title: "Version", class: "text wide", value: (row) => row.version, text: (row) => number(row.version) },
        { name: "next", title: "Next", class: "text", value: (row) => row.next_ns ?? Infinity, text: (row, now) => (row.next_ns === null ? "by hand" : recent(fromNs(row.next_ns), now)), hint: (row) => scheduled(row.schedule) },
        { name: "last", title: "Last", left: true, class: "text", text: (row) => row.last_run?.outcome ?? "–", tone: (row) => RUNS[row.last_run?.outcome] ?? "", hint: (row) => row.last_run?.reason ?? "" },
      ],
    });
    this.panel = panel("Templates", this.table.element);
  }

  enter() {
    const failed = (error) => (this.problem = error.message);
    this.poll = poll("templates", {}, POLL_SECONDS, ({ items }) => Object.assign(this, { items, problem: "" }), { failed });
  }

  leave() {
    this.poll.stop();
  }

  render(now) {
    setText(this.panel.note, this.problem || (this.items ? number(this.items.length) : ""));
    if (this.items !== null) this.table.render(this.items, now);
  }

  async #open(row) {
    const path = `templates/${encodeURIComponent(row.template_id)}`;
    const match = { "If-Match": `"${row.version}"` }; // what is shown is what is submitted
    const said = (error) => ({ problem: error.message });
    const [tried, written] = await Promise.all([send("POST", `${path}/dry-run`, {}, match).catch(said), get(`${path}/versions`).catch(said)]);
    const { order, schedule, last_run: last } = row;
    const facts = [
      ["Order", `${wanted(order)} ${order.instrument} at ${order.venue}`], ["Strategy", order.strategy], ["Description", row.description],
      ["Valid for", row.valid_seconds && `${number(row.valid_seconds)} s`], ["Schedule", scheduled(schedule)], ["Next", row.next_ns && stamp(fromNs(row.next_ns))],
      ["Last", last && `${last.outcome}, ${stamp(fromNs(last.scheduled_ns))}${last.reason ? `: ${last.reason}` : ""}`],
      ["Versions", written.items && list("Versions", written.items.slice(0, MOST_VERSIONS).map((one) => h("li", {}, h("b", {}, number(one.version)), h("span", { class: "detail" }, `${wanted(one.content.order)}, by ${one.actor}`), h("time", {}, recent(fromNs(one.time_ns), Date.now())))))],
      ["Checks", tried.checks && list("Checks now", tried.checks.map((one) => checked(CHECKS[one.outcome], one.rule, one.reason ?? SAID[one.outcome])))],
    ].filter(([, value]) => value);
    const key = crypto.randomUUID?.() ?? [...crypto.getRandomValues(new Uint32Array(4))].join("-");
    const submits = tried.passes === true;
    this.confirmation.ask({
      title: row.name, facts, button: submits ? "Submit" : "Close",
      text: tried.problem ?? (submits ? "It passes every check now. The trading process takes it from the queue and decides." : "It would be refused now."),
      act: async () => {
        if (!submits) return;
        await send("POST", `${path}/submit`, {}, { ...match, "Idempotency-Key": key });
        this.submitted();
      },
    });
  }
}

const list = (name, lines) => h("ul", { class: "list", "aria-label": name }, ...lines);

/** When a template is submitted by itself, as a person wrote it. */
function scheduled(schedule) {
  if (schedule === null) return "";
  const parts = [schedule.cron, schedule.timezone, schedule.calendar && `sessions of ${schedule.calendar}`, schedule.enabled ? "" : "switched off"];
  return parts.filter(Boolean).join(", ");
}
