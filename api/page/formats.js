// Numbers and times as text. Null is a dash; a minus sign is as wide as a digit's plus.

export const NOTHING = "–";
const MINUS = "\u2212";
const state = { zone: "UTC" };

export const zone = () => state.zone;

/** Shows times in "UTC" or in the zone of the browser ("local"). */
export function setZone(name) {
  state.zone = name === "local" ? "local" : "UTC";
}

const ESCAPES = { ":": "%3A", "*": "%2A", "%": "%25" };

/** The segment of a topic that stands for a name: "BTC/USDT%3AUSDT" for "BTC/USDT:USDT". */
export const segment = (name) => name.replace(/[:*%]/g, (one) => ESCAPES[one]);

const signed = (text) => text.replace("-", MINUS);
const missing = (value) => value === null || value === undefined || Number.isNaN(value);

const fixed = new Map();
function formatter(decimals) {
  let found = fixed.get(decimals);
  if (found === undefined) {
    found = new Intl.NumberFormat("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
    fixed.set(decimals, found);
  }
  return found;
}

/** `1234.5` with two decimals: "1,234.50". */
export function number(value, decimals = 0) {
  return missing(value) ? NOTHING : signed(formatter(decimals).format(value));
}

/** The same with its sign: "+1,234.50". */
export function change(value, decimals = 2) {
  if (missing(value)) return NOTHING;
  const text = formatter(decimals).format(Math.abs(value));
  const zero = !/[1-9]/.test(text);
  return (zero ? "" : value > 0 ? "+" : MINUS) + text;
}

/** The same as `number`, with eight decimals, those of bitcoin, where these would show nothing. */
export const precise = (value, digits) => number(value, value && Math.abs(value) < 10 ** -digits ? 8 : digits);

/** "1 position", "2 positions". */
export const plural = (count, one) => `${number(count)} ${one}${count === 1 ? "" : "s"}`;

/** Digits after the point that a number needs, at most eight. */
export function decimals(value) {
  const text = String(value);
  const [mantissa, exponent = "0"] = text.split("e");
  const digits = (mantissa.split(".")[1] ?? "").length - Number(exponent);
  return Math.min(Math.max(digits, 0), 8);
}

/** "1.24 M": three significant digits. */
export function compact(value) {
  if (missing(value)) return NOTHING;
  const size = Math.abs(Number(value.toPrecision(3)));
  for (const [limit, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    const scale = unit === "k" ? 1e3 : limit;
    if (size >= limit) return signed(`${(value / scale).toPrecision(3)} ${unit}`);
  }
  return signed(size >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toPrecision(3));
}

export function bytes(value) {
  if (missing(value)) return NOTHING;
  let [size, unit] = [value, "B"];
  for (const next of ["KiB", "MiB", "GiB", "TiB"]) {
    if (Math.abs(size) < 1024) break;
    [size, unit] = [size / 1024, next];
  }
  return signed(`${unit === "B" ? size : size.toFixed(1)} ${unit}`);
}

export function percent(ratio, digits = 1) {
  return missing(ratio) ? NOTHING : signed(`${(ratio * 100).toFixed(digits)} %`);
}

/** "0.31 s", "12 ms", "4 min 2 s", "3 h 4 min", "2 d 3 h". */
export function duration(seconds) {
  if (missing(seconds)) return NOTHING;
  const size = Math.abs(seconds);
  const sign = seconds < 0 ? MINUS : "";
  if (size === 0) return "0 s";
  if (size < 0.001) return `${sign}${(size * 1e6).toFixed(0)} µs`;
  if (size < 0.1) return `${sign}${(size * 1000).toFixed(1)} ms`;
  if (size < 10) return `${sign}${size.toFixed(2)} s`;
  if (size < 60) return `${sign}${size.toFixed(1)} s`;
  const whole = Math.floor(size);
  const pair = (big, name, small, other) =>
    `${sign}${Math.floor(whole / big)} ${name} ${Math.floor((whole % big) / small)} ${other}`;
  if (size < 3600) return pair(60, "min", 1, "s");
  return size < 86400 ? pair(3600, "h", 60, "min") : pair(86400, "d", 3600, "h");
}

/** The same in one unit, for columns: "0.31 s". */
export const seconds = (value) => (missing(value) ? NOTHING : value < 100 ? `${value.toFixed(2)} s` : duration(value));

/** "12.3 ms". */
export const milliseconds = (value) =>
  missing(value) ? NOTHING : Math.abs(value) < 10 ? signed(`${(value * 1000).toFixed(1)} ms`) : duration(value);

const two = (value) => String(value).padStart(2, "0");

function fields(ms) {
  const date = new Date(ms);
  return state.zone === "UTC"
    ? [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate(), date.getUTCHours(), date.getUTCMinutes(),
      date.getUTCSeconds(), date.getUTCMilliseconds()]
    : [date.getFullYear(), date.getMonth(), date.getDate(), date.getHours(), date.getMinutes(),
      date.getSeconds(), date.getMilliseconds()];
}

/** "14:03:07"; `digits` of the second's fraction follow. */
export function clock(ms, digits = 0) {
  if (missing(ms)) return NOTHING;
  const [, , , hour, minute, second, milli] = fields(ms);
  const fraction = digits ? `.${String(milli).padStart(3, "0").slice(0, digits)}` : "";
  return `${two(hour)}:${two(minute)}:${two(second)}${fraction}`;
}

/** "2026-01-02". */
export function day(ms) {
  const [year, month, date] = fields(ms);
  return `${year}-${two(month + 1)}-${two(date)}`;
}

/** "2026-01-02 14:03:07". */
export const moment = (ms, digits = 0) => (missing(ms) ? NOTHING : `${day(ms)} ${clock(ms, digits)}`);

/** The time of an event: without the day if that is today's. */
export const recent = (ms, now, digits = 0) => (day(ms) === day(now) ? clock(ms, digits) : moment(ms));

/** Milliseconds of nanoseconds since the epoch; a text keeps all its digits. */
export function fromNs(ns) {
  if (ns === null || ns === undefined) return null;
  return typeof ns === "string" ? Number(ns.slice(0, -6)) + Number(ns.slice(-6)) / 1e6 : ns / 1e6;
}

/** RFC 3339, as parameters take it. */
export const stamp = (ms) => new Date(ms).toISOString();
