// A table of live rows: keyed, sortable, filtered by typing, walked by keyboard. Only rows in
// sight are in the document: the browser lays out and paints what changes ten times a second, and nothing else.
// Rows that leave sight hand their elements to rows that come: new rows make no new elements.

import { h, setClass, setText, setTitle } from "./dom.js";

const ROW_PIXELS = 29;
const MARGIN_ROWS = 3;
const NEAR_END_ROWS = 20;

/**
 * A column has `name`, `title`, and `text(row, now)`; and may have `value(row)` to sort by, `class`, `tone(row, now)`
 * (a class by value), `hint(row)` shown under the pointer, `cell(td, row, now)` that draws instead of `text`, `left` for texts, and
 * `every`: a figure that nobody reads ten times a second is drawn once in so many times, each row in its turn.
 * `more()` is called when the user scrolls near the end.
 */
export class Table {
  constructor({ columns, key, sort, descending = false, open = null, empty = "Nothing yet.", search = null, more = null, label }) {
    Object.assign(this, { columns, key, open, empty, sort, descending, search, more });
    this.rows = new Map();
    this.order = [];
    this.needle = "";
    this.selected = null;
    this.stale = true;
    this.head = h("tr");
    this.body = h("tbody");
    this.message = h("p", { class: "empty" }, empty);
    this.headers = columns.map((column) => this.#header(column));
    this.head.append(...this.headers);
    this.table = h("table", { "aria-label": label }, h("thead", {}, this.head), this.body);
    this.element = h("div", { class: "scroll", tabindex: "0" }, this.table, this.message);
    this.element.addEventListener("keydown", (event) => this.#keydown(event));
    if (open) this.body.addEventListener("click", (event) => open(event.target.closest("tr").row.item));
    this.place = { top: 0, height: 0 };
    this.shown = [];
    this.spare = [];
    this.version = null;
    this.element.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.longest = columns.map(() => 0);
    this.loose = true;
    this.drawn = 0;
    new ResizeObserver(([{ contentRect }]) => {
      this.loose ||= contentRect.width !== this.place.width;
      this.#moved({ height: contentRect.height, width: contentRect.width });
    }).observe(this.element);
    this.#marks();
  }

  #header(column) {
    const title = h("span", { title: column.help }, column.title);
    const header = h("th", { scope: "col", class: column.class ?? "" }, title);
    if (column.value) {
      header.classList.add("sortable");
      header.addEventListener("click", () => this.sortBy(column.name));
    }
    return header;
  }

  sortBy(name) {
    const column = this.columns.find((one) => one.name === name);
    this.descending = this.sort === name ? !this.descending : !column.left;
    this.sort = name;
    this.stale = true;
    this.#marks();
  }

  #marks() {
    this.columns.forEach((column, index) => {
      if (column.name === this.sort) {
        this.headers[index].setAttribute("aria-sort", this.descending ? "descending" : "ascending");
      } else {
        this.headers[index].removeAttribute("aria-sort");
      }
    });
  }

  /** Shows rows whose `search` text has all words of the filter. */
  filter(text) {
    this.needle = text.trim().toLowerCase();
    this.stale = true;
  }

  /** Brings the rows in line with these items and draws them. Items of the same `version` are the same ones. */
  render(items, now, version = null) {
    this.now = now;
    const known = version !== null && version === this.version;
    this.version = version;
    if (!known) this.#take(items);
    if (this.stale) this.arrange();
    this.drawn += 1;
    this.shown.forEach((row, index) => this.#draw(row, now, this.drawn + index));
    if (this.loose && this.shown.length && this.place.width) this.#fit();
  }

  #take(items) {
    const seen = new Set();
    for (const item of items) {
      const key = this.key(item);
      seen.add(key);
      const row = this.rows.get(key);
      if (row === undefined) {
        this.#add(key, item);
        this.stale = true;
      } else {
        row.item = item;
      }
    }
    if (seen.size < this.rows.size) {
      for (const [key, row] of this.rows) if (!seen.has(key)) this.#remove(key, row);
      this.stale = true;
    }
  }

  /** Fixes the widths of the columns until a longer text comes, so that a new number moves nothing. */
  #fit() {
    this.loose = false;
    this.table.style.tableLayout = "auto";
    for (const header of this.headers) header.style.width = "";
    const widths = this.headers.map((header) => header.getBoundingClientRect().width);
    widths.forEach((width, index) => (this.headers[index].style.width = `${width}px`));
    this.table.style.tableLayout = "fixed";
  }

  #moved(change) {
    Object.assign(this.place, change);
    this.#window();
  }

  #scrolled() {
    this.#moved({ top: this.element.scrollTop });
    const { top, height } = this.place;
    if (top + height > (this.order.length - NEAR_END_ROWS) * ROW_PIXELS) this.more?.();
  }

  /** Puts the rows in sight into the document, and room for the others above and below. */
  #window() {
    const { top, height } = this.place;
    const count = this.order.length;
    const first = Math.min(Math.max(0, Math.floor(top / ROW_PIXELS) - MARGIN_ROWS), Math.max(0, count - 1));
    const last = Math.min(count, Math.ceil((top + height) / ROW_PIXELS) + MARGIN_ROWS);
    const rows = this.order.slice(first, last);
    if (rows.length === this.shown.length && rows.every((row, index) => row === this.shown[index])) return;
    const kept = new Set(rows);
    for (const row of this.shown) if (!kept.has(row)) this.#release(row);
    this.shown = rows;
    this.table.style.marginTop = `${first * ROW_PIXELS}px`;
    this.table.style.marginBottom = `${(count - last) * ROW_PIXELS}px`;
    let at = this.body.firstChild;
    for (const row of rows) {
      if (row.element === null) this.#occupy(row);
      if (row.element === at) at = at.nextSibling;
      else this.body.insertBefore(row.element, at);
    }
    for (const element of this.spare) element.remove();
  }

  /** Sorts and filters the rows again. */
  arrange() {
    this.stale = false;
    const words = this.needle.split(/\s+/).filter(Boolean);
    const shown = [...this.rows.values()].filter((row) => words.every((word) => row.words.includes(word)));
    const column = this.columns.find((one) => one.name === this.sort);
    if (column) shown.sort((a, b) => compare(column.value(a.item), column.value(b.item), this.descending));
    this.order = shown;
    this.#window();
    this.message.hidden = shown.length > 0;
    setText(this.message, this.rows.size && words.length ? `Nothing matches “${this.needle}”.` : this.empty);
  }

  #add(key, item) {
    const words = (this.search ? this.search(item) : String(key)).toLowerCase();
    this.rows.set(key, { key, item, words, element: null, cells: null });
  }

  /** Gives a row the elements of one that left, or new ones. */
  #occupy(row) {
    const element = this.spare.pop() ?? this.#make();
    element.row = row;
    row.element = element;
    row.cells = element.parts;
    if (row === this.selected) element.setAttribute("aria-selected", "true");
    this.#draw(row, this.now, 0);
  }

  #make() {
    const cells = this.columns.map((column) => h("td", { class: column.class ?? "" }));
    const element = h("tr", { class: this.open ? "opens" : null }, ...cells);
    element.parts = cells;
    return element;
  }

  #release(row) {
    row.element.removeAttribute("aria-selected");
    this.spare.push(row.element);
    row.element = row.cells = null;
  }

  #remove(key, row) {
    this.rows.delete(key);
    if (this.selected === row) this.selected = null;
  }

  #draw(row, now, turn) {
    const { cells } = row;
    for (let index = 0; index < this.columns.length; index += 1) {
      const column = this.columns[index];
      if (column.every && turn % column.every) continue;
      const cell = cells[index];
      if (column.cell) column.cell(cell, row.item, now);
      else this.#text(cell, index, column.text(row.item, now));
      if (column.hint) setTitle(cell, column.hint(row.item));
      if (column.tone) setClass(cell, `${column.class ?? ""} ${column.tone(row.item, now)}`);
    }
  }

  #text(cell, index, text) {
    setText(cell, text);
    if (text.length > this.longest[index]) {
      this.longest[index] = text.length;
      this.loose = true;
    }
  }

  #keydown(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1, PageDown: 20, PageUp: -20, Home: -1e9, End: 1e9 }[event.key];
    if (step !== undefined && this.order.length && this.open) {
      const at = this.selected ? this.order.indexOf(this.selected) : -Math.sign(step);
      this.#select(this.order[Math.min(Math.max(at + step, 0), this.order.length - 1)]);
      event.preventDefault();
    } else if (event.key === "Enter" && this.selected) {
      this.open(this.selected.item);
    }
  }

  #select(row) {
    this.selected?.element?.removeAttribute("aria-selected");
    this.selected = row;
    row.element?.setAttribute("aria-selected", "true");
    const at = this.order.indexOf(row) * ROW_PIXELS;
    const room = this.element.clientHeight - 2 * ROW_PIXELS;
    if (at < this.element.scrollTop) this.element.scrollTop = at;
    else if (at > this.element.scrollTop + room) this.element.scrollTop = at - room;
  }
}

/** Compares values of a column; missing ones are always last. */
function compare(a, b, descending) {
  const [noA, noB] = [a, b].map((value) => value === null || value === undefined || Number.isNaN(value));
  if (noA || noB) return Number(noA) - Number(noB);
  const order = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  return descending ? -order : order;
}
