// Charts over time: uPlot with our colours and axes, zoomed by wheel or two fingers and moved by dragging.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { h } from "./dom.js";
import { clock, day, number, zone } from "./formats.js";
import { colours } from "./theme.js";

const SECOND = 1000;
const DAY = 86_400_000;
const SHORTEST_MS = 2 * SECOND;
const LONGEST_MS = 400 * DAY;
const ZOOM_PER_STEP = 1.0015;
const MANY_MARKS = 80;

/** Texts of the time axis, as fine as its step needs; the day stands where it changes. */
function timeTexts(_, splits, __, ___, step) {
  let shown = null;
  return splits.map((ms) => {
    const today = day(ms);
    const text = step >= DAY ? today.slice(5) : clock(ms, step < SECOND ? 1 : 0).slice(0, step < 60 * SECOND ? undefined : 5);
    const fresh = shown !== null && today !== shown && step < DAY;
    shown = today;
    return fresh ? today.slice(5) : text;
  });
}

/** Room above and below the values; a flat line gets some too. */
function valueRange(_, low, high) {
  if (low === null || high === null) return [0, 1];
  const room = (high - low) * 0.08 || Math.abs(high) * 1e-5 || 1;
  return [low - room, high + room];
}

export class TimeChart {
  /**
   * `series` are `{name, colour, width, dash, hidden}`; `bands` are pairs of their numbers, from 1, with the area
   * between them filled. `digits(value)` formats values. `draw(u, colours)` draws on top, `moved(from, to)` is told of
   * zooming and dragging, `live()` of a double click, and `hovered(index)` of the cursor.
   */
  constructor({ label, series, bands = [], digits, draw, moved, live, hovered, height = 300 }) {
    Object.assign(this, { series, bands, digits, drawMore: draw, moved, live, hovered, height });
    this.element = h("div", { class: "plot", role: "img", "aria-label": label });
    this.data = [[], ...series.map(() => [])];
    this.shown = [0, 1];
    this.width = 0;
    this.plot = null;
    this.pointers = new Map();
    new ResizeObserver(([entry]) => this.#resize(entry.contentRect)).observe(this.element);
  }

  /** Shows these columns between two times. */
  show(data, from, to) {
    this.data = data;
    this.shown = [from, to];
    if (this.plot === null) return;
    this.plot.batch(() => {
      this.plot.setData(data, false);
      this.plot.setScale("x", { min: from, max: to });
    });
  }

  /** Makes the chart again, after a change of colours or of the time zone. */
  rebuild() {
    if (this.width) this.#build();
  }

  #resize({ width, height }) {
    if (!width || !height) return;
    [this.width, this.height] = [Math.floor(width), Math.floor(height)];
    if (this.plot === null) this.#build();
    else this.plot.setSize({ width: this.width, height: this.height });
  }

  #build() {
    this.plot?.destroy();
    const colour = colours();
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: colour.muted, font, grid: { stroke: colour.grid, width: 1 }, ticks: { show: false } };
    const options = {
      width: this.width,
      height: this.height,
      ms: 1,
      tzDate: (ms) => (zone() === "UTC" ? uPlot.tzDate(new Date(ms), "Etc/UTC") : new Date(ms)),
      padding: [8, 0, 0, 12],
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { show: false } },
      scales: { x: { time: true }, y: { range: valueRange } },
      axes: [
        { ...axis, values: timeTexts, space: 80, size: 30 },
        { ...axis, side: 1, values: (_, splits, __, ___, step) => splits.map((value) => this.#text(value, step)),
          size: (_, values) => 20 + 6.8 * Math.max(4, ...(values ?? []).map((text) => text.length)) },
      ],
      series: [{}, ...this.series.map((one) => this.#line(one, colour))],
      bands: this.bands.map((pair) => ({ series: pair, fill: colour.band })),
      hooks: {
        draw: [(plot) => this.drawMore?.(plot, colour)],
        setCursor: [(plot) => this.hovered?.(plot.cursor.idx, plot)],
      },
    };
    this.plot = new uPlot(options, this.data, this.element);
    this.plot.setScale("x", { min: this.shown[0], max: this.shown[1] });
    this.#listen(this.plot.over);
  }

  #text(value, step) {
    const places = Math.min(8, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)));
    return this.digits ? this.digits(value, places) : number(value, places);
  }

  #line({ colour: name, width = 1.5, dash, hidden, step }, colour) {
    const line = { stroke: hidden ? undefined : colour[name], width: hidden ? 0 : width, dash, points: { show: false } };
    if (hidden) line.paths = () => null;
    else if (step) line.paths = uPlot.paths.stepped({ align: 1 });
    return line;
  }

  #listen(over) {
    over.addEventListener("wheel", (event) => {
      event.preventDefault();
      const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
      if (sideways) this.pan(event.deltaX / over.clientWidth);
      else this.zoom(ZOOM_PER_STEP ** event.deltaY, event.offsetX / over.clientWidth);
    }, { passive: false });
    over.addEventListener("dblclick", () => this.live?.());
    over.addEventListener("pointerdown", (event) => {
      over.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, event.clientX);
    });
    over.addEventListener("pointermove", (event) => this.#drag(event, over));
    for (const end of ["pointerup", "pointercancel"]) {
      over.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    }
  }

  #drag(event, over) {
    if (!this.pointers.has(event.pointerId)) return;
    const before = [...this.pointers.values()];
    this.pointers.set(event.pointerId, event.clientX);
    const after = [...this.pointers.values()];
    if (after.length === 1) {
      this.pan((before[0] - after[0]) / over.clientWidth);
    } else {
      const spread = ([a, b]) => Math.max(20, Math.abs(a - b));
      const middle = (after[0] + after[1]) / 2 - over.getBoundingClientRect().left;
      this.zoom(spread(before) / spread(after), middle / over.clientWidth);
    }
  }

  /** Moves by a part of the width. */
  pan(part) {
    const [from, to] = this.shown;
    const by = part * (to - from);
    this.moved?.(from + by, to + by);
  }

  /** Widens the range by a factor around a point, 0 at the left and 1 at the right. */
  zoom(factor, at = 0.5) {
    const [from, to] = this.shown;
    const length = Math.min(Math.max((to - from) * factor, SHORTEST_MS), LONGEST_MS);
    const centre = from + (to - from) * at;
    this.moved?.(centre - length * at, centre + length * (1 - at));
  }
}

/** Draws candles from the columns time, high, low, open, close; `width` is that of a bar in milliseconds. */
export function drawCandles(plot, colour, width) {
  const [times, highs, lows, opens, closes] = plot.data;
  const { ctx, scales } = plot;
  const wide = Math.max(1, Math.abs(plot.valToPos(times[0] + width, "x", true) - plot.valToPos(times[0], "x", true)) * 0.7);
  ctx.save();
  clip(plot);
  for (let index = 0; index < times.length; index += 1) {
    const middle = times[index] + width / 2;
    if (middle < scales.x.min - width || middle > scales.x.max + width) continue;
    const x = plot.valToPos(middle, "x", true);
    const [high, low, open, close] = [highs, lows, opens, closes].map((column) => plot.valToPos(column[index], "y", true));
    ctx.fillStyle = closes[index] >= opens[index] ? colour.up : colour.down;
    const line = Math.max(1, devicePixelRatio);
    ctx.fillRect(Math.round(x - line / 2), high, line, Math.max(1, low - high));
    ctx.fillRect(Math.round(x - wide / 2), Math.min(open, close), Math.max(1, Math.round(wide)), Math.max(1, Math.abs(close - open)));
  }
  ctx.restore();
}

/**
 * Draws marks `{time, value, shape, colour}`: "up" and "down" are triangles, "dot" is a circle. One without a value
 * stands on the last series.
 */
export function drawMarks(plot, colour, marks) {
  const { ctx, scales } = plot;
  const inside = marks.filter((mark) => mark.time >= scales.x.min && mark.time <= scales.x.max);
  const line = plot.data[plot.data.length - 1];
  const size = (inside.length > MANY_MARKS ? 3.5 : 5.5) * Math.min(devicePixelRatio || 1, 2);
  ctx.save();
  clip(plot);
  for (const mark of inside) {
    const x = plot.valToPos(mark.time, "x", true);
    const value = mark.value ?? line[plot.valToIdx(mark.time)] ?? null;
    if (value === null) continue;
    const y = plot.valToPos(value, "y", true);
    ctx.beginPath();
    if (mark.shape === "dot") {
      ctx.arc(x, y, size * 0.6, 0, 7);
    } else {
      const tip = mark.shape === "up" ? -1 : 1;
      ctx.moveTo(x, y - tip * 2);
      ctx.lineTo(x - size, y - tip * (2 + size * 1.7));
      ctx.lineTo(x + size, y - tip * (2 + size * 1.7));
      ctx.closePath();
    }
    ctx.fillStyle = colour[mark.colour];
    ctx.strokeStyle = colour.panel;
    ctx.lineWidth = Math.max(1, devicePixelRatio);
    if (mark.shape === "dot") {
      ctx.strokeStyle = colour[mark.colour];
      ctx.stroke();
    } else {
      ctx.fill();
      ctx.stroke();
    }
  }
  ctx.restore();
}

function clip({ ctx, bbox }) {
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
}
