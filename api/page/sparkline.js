// A small line without axes, on a canvas that is redrawn whole.

import { h } from "./dom.js";

const STILL_MS = 1000;
const STAGGER_MS = 300;

/** A canvas of `width` × `height` CSS pixels. `draw(ring, colour)` shows the ring's values, newest at the right. */
export class Sparkline {
  constructor(width, height, capacity) {
    this.width = width;
    this.height = height;
    this.capacity = capacity;
    this.canvas = h("canvas", { class: "spark", "aria-hidden": "true" });
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    this.context = null;
  }

  draw(ring, colour) {
    // A price that stays only moves the line to the left, by half a pixel a cycle: once a second is enough for that.
    const [value, now] = [ring.last, performance.now()];
    if (value === this.value && ring === this.ring && now - this.drawn < STILL_MS) return;
    Object.assign(this, { value, ring, drawn: now + Math.random() * STAGGER_MS });
    const context = this.context ?? this.#open();
    const { width, height, capacity } = this;
    context.clearRect(0, 0, width, height);
    let low = Infinity;
    let high = -Infinity;
    const first = Math.max(0, ring.length - capacity);
    for (let index = first; index < ring.length; index += 1) {
      const value = ring.at(index);
      if (value < low) low = value;
      if (value > high) high = value;
    }
    if (low > high) return;
    const scale = high > low ? (height - 4) / (high - low) : 0;
    const middle = high > low ? 0 : height / 2 - 2;
    const step = width / (capacity - 1);
    const left = width - (ring.length - first - 1) * step;
    context.beginPath();
    let drawing = false;
    let previous = Number.NaN;
    for (let index = first; index < ring.length; index += 1) {
      const value = ring.at(index);
      // A run of equal values is one line: most cycles bring no new price.
      if (value === previous && index + 1 < ring.length) continue;
      const x = left + (index - first) * step;
      if (Number.isNaN(value)) {
        drawing = false;
      } else {
        const y = 2 + middle + (high - value) * scale;
        if (drawing) {
          if (previous !== value) context.lineTo(x, 2 + middle + (high - previous) * scale);
          context.lineTo(x, y);
        } else {
          context.moveTo(x, y);
        }
        drawing = true;
      }
      previous = value;
    }
    context.strokeStyle = colour;
    context.stroke();
  }

  #open() {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    this.canvas.width = this.width * ratio;
    this.canvas.height = this.height * ratio;
    this.context = this.canvas.getContext("2d");
    this.context.scale(ratio, ratio);
    this.context.lineWidth = 1.25;
    this.context.lineJoin = "round";
    return this.context;
  }
}
