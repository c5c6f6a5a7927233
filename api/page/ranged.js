// A chart with its time range: live or fixed, by buttons, wheel, dragging and keyboard; it loads what it shows.

import { TimeChart } from "./charts.js";
import { h, setText } from "./dom.js";
import { moment } from "./formats.js";

const MINUTE = 60_000;
const SPANS = [["1m", 1], ["5m", 5], ["15m", 15], ["1h", 60], ["6h", 360], ["1d", 1440], ["7d", 10_080]];
const LOAD_MS = 150;
const SETTLE_MS = 500;
const CATCH_UP_MS = 3000;
const RETRY_MS = 3000;
const POINTS_PER_PIXEL = 1.5;
const MARGIN = 0.5;

/** Milliseconds of "15m", or null. */
export function spanLength(text) {
  const found = /^(\d+(?:\.\d+)?)(s|m|h|d)$/.exec(text ?? "");
  return found ? Number(found[1]) * { s: 1000, m: MINUTE, h: 60 * MINUTE, d: 1440 * MINUTE }[found[2]] : null;
}

/** "15m" of milliseconds, as short as it can be said. */
function spanText(length) {
  for (const [unit, size] of [["d", 1440 * MINUTE], ["h", 60 * MINUTE], ["m", MINUTE]]) {
    if (length >= size && Math.abs(length / size - Math.round(length / size)) < 0.005) return `${Math.round(length / size)}${unit}`;
  }
  return `${Math.round(length / 1000)}s`;
}

export class RangedChart {
  /**
   * `load(from, to, points, signal)` reads a range and resolves when `data()` has it; `note()` says at what resolution.
   * `trim(before)` may drop what is older.
   * `settled(range)` is told of ranges that the user chose. `chart` goes to the TimeChart.
   */
  constructor({ now, load, trim, data, note, settled, draw, chart }) {
    Object.assign(this, { now, load, trim, data, note, settled, redraw: draw });
    this.range = { live: true, length: 5 * MINUTE, to: 0 };
    this.loaded = null;
    this.chart = new TimeChart({ ...chart, moved: (from, to) => this.#move(from, to), live: () => this.goLive() });
    this.buttons = SPANS.map(([name, minutes]) =>
      h("button", { type: "button", onclick: () => this.#span(minutes * MINUTE) }, name));
    this.liveButton = h("button", { type: "button", title: "Follow the present (l)", onclick: () => this.goLive() }, "Live");
    this.status = h("span", { class: "status" });
    this.toolbar = h("div", { class: "toolbar" }, h("div", { class: "buttons" }, ...this.buttons), this.liveButton, this.status);
    this.element = h("div", { class: "ranged" }, this.toolbar, this.chart.element);
  }

  /** The range that is shown: milliseconds. */
  get bounds() {
    const { live, length, to } = this.range;
    const end = live ? this.now() : to;
    return [end - length, end];
  }

  /** Takes the range of an address: `from` and `to`, or `span`. */
  open(query) {
    const [from, to] = [Date.parse(query.get("from") ?? ""), Date.parse(query.get("to") ?? "")];
    const span = spanLength(query.get("span")) ?? 5 * MINUTE;
    if (Number.isNaN(from)) this.range = { live: Number.isNaN(to), length: span, to };
    else if (to > from) this.range = { live: false, length: to - from, to };
    else this.range = { live: false, length: span, to: from + span };
    this.#marks();
    this.reload();
    // Rows reach the database shortly after they are live: this reads what lay between.
    this.later = setTimeout(() => this.reload(), CATCH_UP_MS);
  }

  close() {
    this.control?.abort();
    for (const timer of [this.later, this.timer, this.settling]) clearTimeout(timer);
  }

  /** Parameters of an address that opens this range. */
  get parameters() {
    const { live, length, to } = this.range;
    if (live) return { span: spanText(length) };
    return { from: new Date(to - length).toISOString(), to: new Date(to).toISOString() };
  }

  goLive() {
    this.range.live = true;
    this.#changed();
  }

  key(key) {
    const actions = {
      ArrowLeft: () => this.chart.pan(-0.25), ArrowRight: () => this.chart.pan(0.25), l: () => this.goLive(),
      "+": () => this.chart.zoom(0.5), "=": () => this.chart.zoom(0.5), "-": () => this.chart.zoom(2),
    };
    actions[key]?.();
    return key in actions;
  }

  #span(length) {
    const [from, to] = this.bounds;
    if (!this.range.live) this.range.to = Math.min((from + to) / 2 + length / 2, this.now());
    this.range.length = length;
    this.#changed();
  }

  #move(from, to) {
    const [, before] = this.bounds;
    const edge = this.now();
    const length = to - from;
    // Zooming while live keeps the right edge at the present; dragging to the present makes it live again.
    const live = this.range.live ? to >= before - length * 0.02 || length !== this.range.length : to >= edge;
    this.range = { live, length, to: Math.min(to, edge) };
    this.#changed();
  }

  #changed() {
    this.#marks();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#needed(), LOAD_MS);
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.settled?.(), SETTLE_MS);
    this.redraw();
  }

  #marks() {
    const { live, length } = this.range;
    this.liveButton.setAttribute("aria-pressed", live);
    SPANS.forEach(([, minutes], index) => this.buttons[index].setAttribute("aria-pressed", length === minutes * MINUTE));
  }

  /** Loads if the range is not there yet, or at another resolution. */
  #needed() {
    const [from, to] = this.bounds;
    const have = this.loaded;
    const inside = have && from >= have.from && to <= have.to;
    const fits = have && have.length <= this.range.length * 3 && have.length >= this.range.length * 0.6;
    if (!inside || !fits) this.reload();
  }

  async reload() {
    this.control?.abort();
    const control = (this.control = new AbortController());
    const [from, to] = this.bounds;
    const { live, length } = this.range;
    const start = from - length * MARGIN;
    const end = live ? to : Math.min(to + length * MARGIN, this.now());
    const points = Math.max(600, this.chart.width) * POINTS_PER_PIXEL * ((end - start) / length);
    this.element.classList.add("loading");
    try {
      await this.load(start, end, points, control.signal);
      this.loaded = { from: start, to: live || end >= this.now() - 2000 ? Infinity : end, length };
      this.problem = "";
    } catch (error) {
      if (control.signal.aborted) return;
      this.problem = error.message;
      this.later = setTimeout(() => this.reload(), RETRY_MS);
    }
    this.element.classList.remove("loading");
    this.redraw();
  }

  /** Forgets what a chart that follows the present has left behind. */
  #trim(before) {
    if (before <= this.loaded.from) return;
    this.trim(before);
    this.loaded.from = before;
  }

  render() {
    const [from, to] = this.bounds;
    const { live, length } = this.range;
    if (live && this.loaded) this.#trim(from - length * MARGIN);
    this.chart.show(this.data(), from, to);
    const range = live ? `last ${spanText(length)}` : `${moment(from)} – ${moment(to)}`;
    setText(this.status, this.problem || `${range} · ${this.note()}`);
    this.status.classList.toggle("bad", Boolean(this.problem));
  }
}
