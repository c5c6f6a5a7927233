// The WebSocket: connects, subscribes, and connects again with the events that were missed.

const PROTOCOL = "decahertz.v1.json";
const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 5000;
const PING_MS = 2000;
const SILENT_MS = 10_000;
const KEPT_ROUND_TRIPS = 5;

/** One connection to `/ws`. `handlers` has `update`, `event`, `snapshot`, `state`, `restored` and `admits`. */
export class Connection {
  constructor(address, handlers) {
    this.address = address;
    this.handlers = handlers;
    this.topics = new Set();
    this.state = "connecting";
    this.attempts = 0;
    this.retryAt = 0;
    this.lastHeard = 0;
    this.epoch = null;
    this.sequence = 0;
    this.recorder = "";
    this.version = "";
    this.clientId = "";
    this.messages = 0;
    this.conflated = 0;
    this.reconnects = 0;
    this.refused = "";
    this.roundTrips = [];
    this.offset = null;
    this.resuming = null;
    setInterval(() => this.#beat(), PING_MS);
    addEventListener("online", () => this.#retry());
    addEventListener("pagehide", () => this.socket?.close());
    document.addEventListener("visibilitychange", () => document.hidden || this.#retry());
  }

  open() {
    const socket = new WebSocket(this.address, PROTOCOL);
    this.socket = socket;
    socket.onmessage = (message) => this.#receive(JSON.parse(message.data));
    socket.onclose = () => socket === this.socket && this.#lost();
  }

  /** Connects again, unless somebody has to sign in first: then the page opens it. */
  async #reopen() {
    this.retry = null;
    if (await this.handlers.admits()) this.open();
  }

  /** The server's time now, in milliseconds, by the pings' estimate. */
  now() {
    return Date.now() + (this.offset ?? 0);
  }

  /** Median round trip in milliseconds. */
  get roundTrip() {
    const sorted = this.roundTrips.map((one) => one.length).sort((a, b) => a - b);
    return sorted.length ? sorted[Math.floor(sorted.length / 2)] : null;
  }

  /** Subscribes to these patterns, and from all others unsubscribes. */
  want(patterns) {
    const wanted = new Set(patterns);
    const gone = [...this.topics].filter((topic) => !wanted.has(topic));
    const added = [...wanted].filter((topic) => !this.topics.has(topic));
    this.topics = wanted;
    if (this.state !== "open") return;
    if (gone.length) this.#send({ type: "unsubscribe", topics: gone });
    if (added.length) this.#send({ type: "subscribe", topics: added });
  }

  #send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  #receive(message) {
    this.lastHeard = performance.now();
    this.messages += 1;
    switch (message.type) {
      case "updates":
        for (const item of message.items) {
          this.conflated += item.conflated;
          this.handlers.update(item);
        }
        break;
      case "event":
        this.sequence = message.sequence;
        this.handlers.event(message);
        break;
      case "snapshot":
        // While events are sent again, the position is that of the last one: a snapshot of states is ahead of them.
        if (this.resuming?.some((topic) => message.topics.includes(topic)) && message.complete) this.resuming = null;
        if (!this.resuming) this.sequence = Math.max(this.sequence, message.sequence);
        for (const item of message.items) this.handlers.snapshot(item);
        break;
      case "pong":
        this.#pong(message);
        break;
      case "connected":
        this.#connected(message);
        break;
      case "error":
        this.#refused(message);
        break;
    }
  }

  #connected(message) {
    const before = this.epoch;
    Object.assign(this, { epoch: message.epoch, recorder: message.recorder, version: message.version });
    this.clientId = message.client_id;
    this.attempts = 0;
    this.roundTrips = [];
    this.#enter("open");
    this.#ping();
    this.#subscribe(before);
    if (before !== null) {
      this.reconnects += 1;
      this.handlers.restored();
    }
  }

  /** Subscribes to all topics; after a loss, to events from where they ended in the epoch `before`. */
  #subscribe(before) {
    const states = [...this.topics].filter((topic) => topic.startsWith("metrics:"));
    const events = [...this.topics].filter((topic) => !topic.startsWith("metrics:"));
    const resumes = before !== null && this.sequence > 0 && events.length > 0;
    this.resuming = resumes ? events : null;
    const topics = resumes ? states : [...this.topics];
    if (topics.length) this.#send({ type: "subscribe", topics, batch: true });
    if (resumes) this.#send({ type: "resume", topics: events, epoch: before, sequence: this.sequence, batch: true });
  }

  #refused({ code, text }) {
    this.refused = `${code}: ${text}`;
    if (this.resuming && (code === "cannot_resume" || code === "unavailable")) {
      // The views have read the lists again; events follow from now on.
      this.#send({ type: "subscribe", topics: this.resuming });
      this.resuming = null;
    } else {
      console.error(`The server refused a message: ${this.refused}`);
    }
  }

  #ping() {
    this.pinged = performance.now();
    this.#send({ type: "ping" });
  }

  #pong(message) {
    const length = performance.now() - this.pinged;
    const offset = message.time_ns / 1e6 - (Date.now() - length / 2);
    this.roundTrips = [...this.roundTrips.slice(1 - KEPT_ROUND_TRIPS), { length, offset }];
    // The shortest round trip has the least doubt about where its middle was.
    this.offset = this.roundTrips.reduce((a, b) => (b.length < a.length ? b : a)).offset;
  }

  #beat() {
    if (this.state !== "open") return;
    if (performance.now() - this.lastHeard > SILENT_MS) this.socket.close();
    this.#ping();
  }

  #lost() {
    const limit = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.attempts);
    const delay = limit * (0.5 + Math.random() / 2);
    this.attempts += 1;
    this.retryAt = performance.now() + delay;
    this.#enter("lost");
    this.retry = setTimeout(() => this.#reopen(), delay);
  }

  #retry() {
    if (this.retry) {
      clearTimeout(this.retry);
      this.#reopen();
    }
  }

  #enter(state) {
    this.state = state;
    this.handlers.state(state);
  }
}
