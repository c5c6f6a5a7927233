// Bounded buffers of numbers.

/** The newest `capacity` numbers. */
export class Ring {
  constructor(capacity) {
    this.values = new Float64Array(capacity);
    this.length = 0;
    this.start = 0;
  }

  push(value) {
    const capacity = this.values.length;
    if (this.length < capacity) {
      this.values[(this.start + this.length) % capacity] = value;
      this.length += 1;
    } else {
      this.values[this.start] = value;
      this.start = (this.start + 1) % capacity;
    }
  }

  /** The value at an index; 0 is the oldest. */
  at(index) {
    return this.values[(this.start + index) % this.values.length];
  }

  get last() {
    return this.length ? this.at(this.length - 1) : Number.NaN;
  }

  clear() {
    this.length = 0;
    this.start = 0;
  }

  /** A quantile of the values, 0 to 1, as one of them. */
  quantile(part) {
    const sorted = Float64Array.from({ length: this.length }, (_, index) => this.at(index)).sort();
    return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] : null;
  }
}

/** The newest `capacity` items by their `time`, newest first; an item replaces an older one with the same `id`. */
export class Recent {
  constructor(capacity) {
    this.capacity = capacity;
    this.clear();
  }

  clear() {
    this.items = [];
    this.known = new Map();
    this.version = (this.version ?? 0) + 1;
  }

  get isFull() {
    return this.items.length >= this.capacity;
  }

  add(items) {
    for (const item of items) this.push(item);
  }

  remove(id) {
    const item = this.known.get(id);
    if (item === undefined) return;
    this.known.delete(id);
    this.items.splice(this.items.indexOf(item), 1);
    this.version += 1;
  }

  /** Forgets items from before a time. */
  trim(before) {
    const { items, known } = this;
    while (items.length && items[items.length - 1].time < before) {
      known.delete(items.pop().id);
      this.version += 1;
    }
  }

  push(item) {
    const { items, known } = this;
    const before = known.get(item.id);
    if (before?.time > item.time) return;
    if (before !== undefined) items.splice(items.indexOf(before), 1);
    let at = 0;
    while (at < items.length && items[at].time > item.time) at += 1;
    items.splice(at, 0, item);
    known.set(item.id, item);
    if (items.length > this.capacity) known.delete(items.pop().id);
    this.version += 1;
  }
}
