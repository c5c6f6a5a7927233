// Statistics of a strategy with the number of observations behind each, and the reason where there is none: of its
// samples ten times a second, and of complete days as `performance` computes them.

import { change, duration, number, percent } from "./formats.js";

const NO_TRADE = "no round trip yet";
const NO_RISK = "no round trip with a known risk";
const trades = (data) => `${number(data.trades)} round trips`;
const recent = (data) => `the last ${number(data.recent_trades)} round trips`;
const risks = (data) => `${number(data.r_trades)} with known risk`;

/** Rows: name, text of a sample, observations of it, and the reason why it can be null. */
export const STATISTICS = [
  ["Win rate", (d) => value(d.win_rate, percent), trades, () => NO_TRADE],
  ["between (95 %)", (d) => value(d.win_rate_lower, (low) => `${number(low * 100, 1)} – ${percent(d.win_rate_upper)}`), () => "Wilson bounds", () => NO_TRADE],
  ["Profit factor", (d) => value(d.profit_factor, (v) => number(v, 2)), trades, (d) => (d.trades ? "no losing round trip" : NO_TRADE)],
  ["Payoff ratio", (d) => value(d.payoff_ratio, (v) => number(v, 2)), trades, (d) => (d.trades ? "no winning or no losing one" : NO_TRADE)],
  ["Kelly fraction", (d) => value(d.kelly, percent), trades, (d) => (d.trades ? "no winning or no losing one" : NO_TRADE)],
  ["Expectancy", (d) => value(d.expectancy, change), trades, () => NO_TRADE],
  ["Expectancy in R", (d) => value(d.expectancy_r, (v) => `${change(v, 3)} R`), risks, () => NO_RISK],
  ["Win rate lately", (d) => value(d.recent_win_rate, percent), recent, () => NO_TRADE],
  ["Profit factor lately", (d) => value(d.recent_profit_factor, (v) => number(v, 2)), recent, (d) => (d.recent_trades ? "no losing round trip" : NO_TRADE)],
  ["Expectancy lately", (d) => value(d.recent_expectancy, change), recent, () => NO_TRADE],
  ["In R lately", (d) => value(d.recent_expectancy_r, (v) => `${change(v, 3)} R`), recent, () => NO_RISK],
  ["Average win", (d) => value(d.average_win_r, (v) => `${change(v, 2)} R`), risks, (d) => (d.r_trades ? "no winning one" : NO_RISK)],
  ["Average loss", (d) => value(d.average_loss_r, (v) => `${change(v, 2)} R`), risks, (d) => (d.r_trades ? "no losing one" : NO_RISK)],
  ["Drawdown", (d) => value(d.drawdown, (v) => number(v, 2)), (d) => `for ${duration(d.drawdown_seconds)}`, () => "no equity curve yet"],
  ["Largest drawdown", (d) => value(d.max_drawdown, (v) => number(v, 2)), (d) => `longest ${duration(d.max_drawdown_seconds)}`, () => ""],
  ["Streak", (d) => value(d.streak, (v) => (v === 0 ? "none" : `${Math.abs(v)} ${v > 0 ? "won" : "lost"}`)),
    (d) => `${number(d.daily_loss_streak)} losing ${d.daily_loss_streak === 1 ? "day" : "days"}`, () => ""],
  ["Open risk", (d) => value(d.current_r, (v) => `${change(v, 2)} R`), () => "of open round trips", () => "no open round trip with a known risk"],
];

const value = (given, text) => (given === null || given === undefined ? null : text(given));

const ratio = (value) => number(value, 2);
const span = (value) => `${number(value)} ${value === 1 ? "day" : "days"}`;

/** Statistics of complete days: name, field of `figures.daily`, and the text of a value. */
export const DAYS = [
  ["Return", "total_return", percent],
  ["Return per year", "annual_return", percent],
  ["Volatility", "volatility", percent],
  ["Sharpe ratio", "sharpe", ratio],
  ["Sortino ratio", "sortino", ratio],
  ["Calmar ratio", "calmar", ratio],
  ["Deepest drawdown", "max_drawdown", percent],
  ["Longest drawdown", "max_drawdown_days", span],
  ["Days with a loss", "red_days", span],
  ["Worst day", "worst_day", (value) => change(value)],
];

/** What stands next to a statistic of the API: its interval, or its sample with the basis, or why it has no value. */
export function basisOf({ value, n, basis, interval, reason }, text) {
  if (value === null) return reason;
  const sample = `${number(n)} ${basis.replaceAll("_", " ")}`;
  return interval ? `${text(interval.low)} to ${text(interval.high)}, ${sample}` : sample;
}
