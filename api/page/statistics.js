// Statistics of a strategy with the number of observations behind each, and the reason where there is none.

import { change, duration, number, percent } from "./formats.js";

const NO_TRADE = "no round trip yet";
const NO_RISK = "no round trip with a known risk";
const trades = (data) => `${number(data.trades)} round trips`;
const risks = (data) => `${number(data.r_trades)} with known risk`;
const days = (data) => `${number(data.daily_changes)} daily changes`;

/** Rows: name, text of a sample, observations of it, and the reason why it can be null. */
export const STATISTICS = [
  ["Win rate", (d) => value(d.win_rate, percent), trades, () => NO_TRADE],
  ["at least (95 %)", (d) => value(d.win_rate_lower, percent), () => "Wilson bound", () => NO_TRADE],
  ["Profit factor", (d) => value(d.profit_factor, (v) => number(v, 2)), trades, (d) => (d.trades ? "no losing round trip" : NO_TRADE)],
  ["Expectancy", (d) => value(d.expectancy, change), trades, () => NO_TRADE],
  ["Expectancy in R", (d) => value(d.expectancy_r, (v) => `${change(v, 3)} R`), risks, () => NO_RISK],
  ["Average win", (d) => value(d.average_win_r, (v) => `${change(v, 2)} R`), risks, (d) => (d.r_trades ? "no winning one" : NO_RISK)],
  ["Average loss", (d) => value(d.average_loss_r, (v) => `${change(v, 2)} R`), risks, (d) => (d.r_trades ? "no losing one" : NO_RISK)],
  ["Sharpe ratio", (d) => value(d.sharpe, (v) => number(v, 2)), days, (d) => few(d, "the changes do not vary")],
  ["Sortino ratio", (d) => value(d.sortino, (v) => number(v, 2)), days, (d) => few(d, "no day with a loss")],
  ["Drawdown", (d) => value(d.drawdown, (v) => number(v, 2)), (d) => `for ${duration(d.drawdown_seconds)}`, () => "no equity curve yet"],
  ["Largest drawdown", (d) => value(d.max_drawdown, (v) => number(v, 2)), (d) => `longest ${duration(d.max_drawdown_seconds)}`, () => ""],
  ["Streak", (d) => value(d.streak, (v) => (v === 0 ? "none" : `${Math.abs(v)} ${v > 0 ? "won" : "lost"}`)),
    (d) => `${number(d.daily_loss_streak)} losing ${d.daily_loss_streak === 1 ? "day" : "days"}`, () => ""],
  ["Open risk", (d) => value(d.current_r, (v) => `${change(v, 2)} R`), () => "of open round trips", () => "no open round trip with a known risk"],
];

const value = (given, text) => (given === null || given === undefined ? null : text(given));
const few = (data, reason) => (data.daily_changes < 2 ? `${number(data.daily_changes)} of 2 daily changes` : reason);
