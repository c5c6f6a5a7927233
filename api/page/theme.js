// Light, dark, or as the system has it; and the choices that a browser remembers.

const THEMES = ["auto", "light", "dark"];
const SYMBOLS = { auto: "◐", light: "☀", dark: "☾" };

/** A remembered choice; storage may be forbidden, and then nothing is remembered. */
export function remembered(name, fallback) {
  try {
    return localStorage.getItem(`decahertz.${name}`) ?? fallback;
  } catch {
    return fallback;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(`decahertz.${name}`, value);
  } catch {
    // private windows of some browsers
  }
}

/** Runs the switch between the themes; `changed` is called with every change. */
export class Theme {
  constructor(button, changed) {
    this.button = button;
    this.changed = changed;
    this.choice = remembered("theme", "auto");
    button.addEventListener("click", () => this.next());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#apply());
    this.#apply();
  }

  next() {
    this.choice = THEMES[(THEMES.indexOf(this.choice) + 1) % THEMES.length];
    remember("theme", this.choice);
    this.#apply();
  }

  #apply() {
    const root = document.documentElement;
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = this.choice === "auto" ? (dark ? "dark" : "light") : this.choice;
    this.button.textContent = SYMBOLS[this.choice] ?? SYMBOLS.auto;
    this.button.setAttribute("aria-label", `Colours: ${this.choice}`);
    this.changed();
  }
}

/** Values of the custom properties of the style sheet, for canvases. */
export function colours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["text", "muted", "line", "accent", "up", "down", "warn", "panel", "grid", "band"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}
