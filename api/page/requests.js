// Order requests as text: what they want, and what the checks say.

import { h } from "./dom.js";
import { compact, decimals, number } from "./formats.js";

/** What an order wants, in a few words: "buy 0.5 limit 100". */
export function wanted(order) {
  if (order.kind !== "equity") return `${(order.option_strategy ?? "legs").replaceAll("_", " ")} × ${compact(order.quantity)}`;
  const prices = [order.limit_price, order.stop_price].filter((price) => price !== null && price !== undefined).map((price) => number(price, decimals(price)));
  return `${order.side} ${compact(order.quantity)} ${order.order_type.replace("_", " ")}${prices.length ? ` ${prices.join(" / ")}` : ""}`;
}

/** A line of a list of checks, with a dot in the colour of `tone`. */
export const checked = (tone, name, text) => h("li", {}, h("span", { class: `dot ${tone}` }), h("b", {}, name), h("span", { class: "detail", title: text }, text));
