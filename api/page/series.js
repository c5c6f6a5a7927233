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

/** The newest `capacity` items, newest first; an item with a known id replaces the one before. */
export class Recent {
  constructor(capacity, id) {
    this.capacity = capacity;
    this.id = id;
    this.items = [];
    this.version = 0;
  }

  /** Adds items in any order, sorted by `time`. */
  add(items) {
    if (items.length === 0) return;
    const known = new Map(this.items.map((item) => [this.id(item), item]));
    for (const item of items) known.set(this.id(item), item);
    this.items = [...known.values()].sort((a, b) => b.time - a.time).slice(0, this.capacity);
    this.version += 1;
  }

  push(item) {
    const id = this.id(item);
    if (this.items.length && item.time >= this.items[0].time && !this.items.some((one) => this.id(one) === id)) {
      this.items.unshift(item);
      if (this.items.length > this.capacity) this.items.pop();
      this.version += 1;
    } else {
      this.add([item]);
    }
  }
}
