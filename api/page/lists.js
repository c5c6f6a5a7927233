// Lists of the API: newest first, page by page as the user scrolls, with live items in front.

import { number } from "./formats.js";
import { get } from "./rest.js";
import { Recent } from "./series.js";

const MOST = 2000;
const PAGE = 100;

export class StoredList {
  /** `parameters()` are those of `GET path`; `item(row)` makes an item with `id` and `time`. */
  constructor(path, parameters, item) {
    Object.assign(this, { path, parameters, item });
    this.recent = new Recent(MOST);
    this.cursor = null;
    this.problem = "";
  }

  /** Starts again with the newest page. */
  async load() {
    this.close();
    this.recent.clear();
    await this.#read("");
  }

  /** Reads the next page, if there is one. */
  more() {
    if (this.cursor !== null && !this.recent.isFull) this.#read(this.cursor);
  }

  async #read(cursor) {
    const { signal } = (this.control = new AbortController());
    this.cursor = null;
    try {
      const body = await get(this.path, { ...this.parameters(), limit: PAGE, cursor }, { signal });
      this.recent.add(body.items.map(this.item));
      this.cursor = body.next_cursor;
      this.problem = "";
    } catch (error) {
      if (signal.aborted) return;
      this.problem = error.message;
      this.cursor = cursor || null;
    }
  }

  close() {
    this.control?.abort();
  }

  /** "100+" of a list that has more pages, or the reason why there is none. */
  get note() {
    return this.problem || `${number(this.recent.items.length)}${this.cursor === null ? "" : "+"}`;
  }
}
