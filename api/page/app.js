// The page: header, views, keyboard, and one drawing per animation frame.

import { Connection } from "./connection.js";
import { fill, h, setClass, setText } from "./dom.js";
import { clock, day, duration, number, setZone, zone } from "./formats.js";
import { parse } from "./router.js";
import { Session } from "./session.js";
import { Store } from "./store.js";
import { Theme, remember, remembered } from "./theme.js";
import { ControlView } from "./views/control.js";
import { ExecutionView } from "./views/execution.js";
import { InstrumentView } from "./views/instrument.js";
import { MarketView } from "./views/market.js";
import { OverviewView } from "./views/overview.js";
import { ProvidersView } from "./views/providers.js";
import { RiskView } from "./views/risk.js";
import { StrategiesView } from "./views/strategies.js";
import { StrategyView } from "./views/strategy.js";
import { SystemView } from "./views/system.js";

const VIEWS = [
  ["overview", "Overview", OverviewView],
  ["market", "Market", MarketView, InstrumentView],
  ["strategies", "Strategies", StrategiesView, StrategyView],
  ["execution", "Execution", ExecutionView],
  ["risk", "Risk", RiskView],
  ["control", "Control", ControlView],
  ["providers", "Providers", ProvidersView],
  ["system", "System", SystemView],
];
const ALWAYS = ["metrics:system:*", "alerts"];
const OLD_MS = 1500;
const GATHER_MS = 12;
const CYCLE_MS = 100;
const IDLE_MS = 500;
const SWEEP_MS = 60_000;
const KEYS = [
  ["1 … 8", "views"], ["/", "filter"], ["j k ↓ ↑", "walk through a table"], ["Enter", "open the row"],
  ["Esc", "leave filter or chart"], ["← → + −", "move and zoom a chart"], ["l", "chart: live"], ["c", "chart: line or candles"], ["z", "UTC or local time"], ["d", "light or dark"], ["?", "this list"],
];
const element = (id) => document.getElementById(id);

class App {
  constructor() {
    this.views = new Map();
    this.view = null;
    this.scheduled = this.gathering = false;
    this.drawn = 0;
    const address = new URL("ws", document.baseURI);
    address.protocol = address.protocol.replace("http", "ws");
    this.connection = new Connection(address, this);
    this.store = new Store(this.connection);
    this.session = new Session(element("sign-in"), element("sign-out"), () => this.#admitted());
    this.tabs = VIEWS.map(([name, title]) => h("a", { href: `#/${name}` }, title));
    element("tabs").append(...this.tabs);
    setZone(remembered("zone", "UTC"));
    this.theme = new Theme(element("theme"), () => this.#recolour());
  }

  async start() {
    this.#listen();
    setInterval(() => performance.now() - this.drawn > IDLE_MS && this.draw(), IDLE_MS);
    setInterval(() => this.store.sweep(), SWEEP_MS);
    if (await this.session.check()) this.#admitted();
  }

  /** Opens the view and the connection: at the start, and after signing in. */
  #admitted() {
    if (this.view === null) this.#open();
    if (this.connection.state !== "open") this.connection.open();
  }

  // Messages of the connection.

  update(message) {
    const before = this.store.lastCycle;
    const entry = this.store.take(message, true);
    if (entry !== null) this.view.update?.(entry);
    if (this.store.lastCycle === before) this.#drawSoon();
    else this.#drawCycle();
  }

  snapshot(item) {
    if (this.store.take(item, false) === null) this.view.event?.(item);
    this.#drawSoon();
  }

  event(message) {
    this.view.event?.(message);
    this.#drawSoon();
  }

  state() {
    this.store.restart();
    this.draw();
  }

  admits() {
    return this.session.check();
  }

  restored() {
    this.view.restored?.();
  }

  // Drawing.

  draw() {
    if (!this.scheduled) {
      this.scheduled = true;
      requestAnimationFrame(() => this.#render());
    }
  }

  /** Draws a cycle once, when all of its messages are likely to be there. */
  #drawCycle() {
    if (this.gathering) return;
    this.gathering = true;
    clearTimeout(this.soon);
    this.soon = setTimeout(() => this.draw(), GATHER_MS);
  }

  /** Draws with the next cycle: what comes in between would more than double the drawings. */
  #drawSoon() {
    this.soon ??= setTimeout(() => this.draw(), CYCLE_MS);
  }

  #render() {
    this.scheduled = this.gathering = false;
    clearTimeout(this.soon);
    this.soon = null;
    this.drawn = performance.now();
    if (this.view === null) return;
    const now = this.connection.now();
    this.#header(now);
    this.view.render(now);
  }

  #header(now) {
    setText(element("clock"), `${day(now)} ${clock(now, 1)}`);
    setText(element("zone"), zone() === "UTC" ? "UTC" : "Local");
    const { connection, store } = this;
    const age = store.age;
    const open = connection.state === "open";
    const old = !open || (age !== null && age > OLD_MS);
    const rate = store.cycleRate;
    const link = !open ? "offline" : old ? `no data for ${duration(age / 1000)}` : `${number(rate, 1)} Hz`;
    setText(element("link"), link);
    setClass(element("link"), old ? "bad" : "good");
    setClass(document.body, old && store.updates > 0 ? "old" : "");
    const banner = element("banner");
    banner.hidden = !old || (open && age === null) || (connection.state === "connecting" && store.updates === 0);
    if (!banner.hidden) setText(banner, this.#trouble(age));
  }

  #trouble(age) {
    const since = age === null ? "" : ` Figures are ${duration(Math.round(age / 1000))} old.`;
    if (this.connection.state === "open") return `The recorder sends no cycles.${since}`;
    const wait = Math.max(0, Math.ceil((this.connection.retryAt - performance.now()) / 1000));
    return `Connection lost; trying again ${wait ? `in ${wait} s` : "now"}.${since}`;
  }

  #recolour() {
    for (const view of this.views.values()) view.recolour?.();
    this.draw();
  }

  // Views.

  #open() {
    const route = parse(location.hash);
    const known = VIEWS.find(([name]) => name === route.view) ?? VIEWS[0];
    const [name, title, View, Detail] = known;
    const wanted = Detail && route.path.length ? Detail : View;
    let view = this.views.get(wanted);
    if (view === undefined) {
      const { store, connection } = this;
      view = new wanted({ store, connection, go: (to) => (location.hash = to), draw: () => this.draw() });
      this.views.set(wanted, view);
    }
    if (this.view !== view) {
      this.view?.leave?.();
      this.view = view;
      fill(element("view"), view.element);
      element("filter").value = "";
      view.filter?.("");
    }
    view.enter?.(route);
    document.title = `${view.title ?? title} · Decahertz`;
    VIEWS.forEach(([other], index) => {
      if (other !== name) return this.tabs[index].removeAttribute("aria-current");
      this.tabs[index].setAttribute("aria-current", "page");
    });
    this.#showTab();
    element("filter").disabled = view.filter === undefined;
    this.connection.want([...ALWAYS, ...view.topics]);
    this.draw();
  }

  /** Scrolls the tabs of a narrow screen to that of the view. */
  #showTab() {
    this.tabs.find((one) => one.hasAttribute("aria-current"))?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  // Input.

  #listen() {
    addEventListener("resize", () => this.#showTab());
    addEventListener("hashchange", () => this.view && this.#open());
    element("filter").addEventListener("input", (event) => {
      this.view.filter?.(event.target.value);
      this.draw();
    });
    element("zone").addEventListener("click", () => this.#zone());
    element("help").addEventListener("click", () => this.#help());
    const list = KEYS.map(([keys, what]) => h("div", {}, h("dt", {}, keys), h("dd", {}, what)));
    element("keys").append(h("h2", {}, "Keyboard"), h("dl", {}, ...list), h("button", { type: "button", onclick: () => this.#help() }, "Close"));
    addEventListener("keydown", (event) => this.#key(event));
  }

  #zone() {
    setZone(zone() === "UTC" ? "local" : "UTC");
    remember("zone", zone());
    for (const view of this.views.values()) view.zoned?.();
    this.draw();
  }

  #help() {
    const dialog = element("keys");
    if (dialog.open) dialog.close();
    else dialog.showModal();
  }

  #key(event) {
    if (this.view === null || element("sign-in").open) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target === element("filter");
    if (!typing && event.target.closest("input, select, dialog.confirm")) return; // a form of the view
    if (event.key === "Escape") {
      if (typing && event.target.value) {
        event.target.value = "";
        this.view.filter?.("");
      } else if (typing) {
        event.target.blur();
      } else {
        this.view.escape?.();
      }
    } else if (typing) {
      if (event.key === "Enter" || event.key === "ArrowDown") this.view.focus?.();
    } else if (this.view.key?.(event.key)) {
      event.preventDefault();
    } else {
      this.#shortcut(event);
    }
    this.draw();
  }

  #shortcut(event) {
    const index = Number(event.key) - 1;
    if (VIEWS[index]) location.hash = `#/${VIEWS[index][0]}`;
    else if (event.key === "z") this.#zone();
    else if (event.key === "d") this.theme.next();
    else if (event.key === "?") this.#help();
    else if (event.key === "/") {
      element("filter").focus();
      event.preventDefault();
    } else if (["j", "k"].includes(event.key)) this.view.focus?.();
  }
}

new App().start();
