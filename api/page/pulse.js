// The cycles of the last minute, one bar each: its height is the time from the cycle to this screen.

import { h } from "./dom.js";
import { colours } from "./theme.js";

const WINDOW_MS = 60_000;
const HEIGHT = 72;
const FULL_MS = 100;
const LATE_MS = 50;
const LEFT = 44;

export class Pulse {
  constructor() {
    this.canvas = h("canvas", { class: "pulse", role: "img", "aria-label": "Time from each cycle to this screen" });
    this.canvas.style.height = `${HEIGHT}px`;
    this.width = 0;
    this.colours = colours();
    new ResizeObserver(([entry]) => this.#resize(entry.contentRect.width)).observe(this.canvas);
  }

  recolour() {
    this.colours = colours();
    this.#resize(this.width);
  }

  #resize(width) {
    if (!width) return;
    const ratio = Math.min(devicePixelRatio || 1, 2);
    this.width = width;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = HEIGHT * ratio;
    this.context = this.canvas.getContext("2d");
    this.context.scale(ratio, ratio);
    this.context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  }

  /** Draws bars for the cycles at `times` that arrived `ages` milliseconds later. */
  draw(times, ages, now) {
    const { context, width, colours: colour } = this;
    if (!width) return;
    const bottom = HEIGHT - 2;
    const scale = (value) => (Math.min(Math.max(value, 1), FULL_MS) / FULL_MS) * (bottom - 6);
    context.clearRect(0, 0, width, HEIGHT);
    context.fillStyle = colour.muted;
    context.textBaseline = "middle";
    for (const mark of [0, LATE_MS, FULL_MS]) {
      const y = bottom - (mark / FULL_MS) * (bottom - 6);
      context.fillText(`${mark} ms`, 0, Math.min(Math.max(y, 6), HEIGHT - 7));
      context.fillRect(LEFT, y, width - LEFT, 0.25);
    }
    const bar = Math.max(0.75, ((width - LEFT) / (WINDOW_MS / 100)) * 0.6);
    for (let index = 0; index < times.length; index += 1) {
      const behind = now - times.at(index);
      if (behind > WINDOW_MS) continue;
      const age = ages.at(ages.length - times.length + index);
      const height = scale(age);
      context.fillStyle = age > FULL_MS ? colour.down : age > LATE_MS ? colour.warn : colour.accent;
      context.fillRect(width - (behind / WINDOW_MS) * (width - LEFT), bottom - height, bar, height);
    }
  }
}
