// Makes elements. Text goes in as text nodes only, so that no data can become markup.

/** Makes an element: `h("td", {class: "number"}, "1.5")`. A property that starts with `on` is a listener. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets the text of an element if it differs; the browser then does nothing for a value that stays. */
export function setText(element, text) {
  if (element.shown !== text) {
    element.shown = text;
    const node = element.firstChild;
    if (node !== null && node.nodeType === Node.TEXT_NODE) node.data = text;
    else element.textContent = text;
  }
}

/** Sets the class of an element if it differs. */
export function setClass(element, name) {
  if (element.shownClass !== name) {
    element.shownClass = name;
    element.className = name;
  }
}

/** Sets what is shown under the pointer if it differs. */
export function setTitle(element, text) {
  if (element.title !== text) element.title = text;
}

/** Replaces the children of an element. */
export function fill(element, ...children) {
  element.replaceChildren(...children);
  return element;
}

/** A titled section of a view. `note` may be filled later. */
export function panel(title, ...children) {
  const note = h("span", { class: "note" });
  const body = h("div", { class: "body" }, ...children);
  const element = h("section", { class: "panel", "aria-label": title }, h("h2", {}, title, note), body);
  return { element, note, body };
}

/** Panels one above the other: a column of a view. */
export const stack = (...panels) => h("div", { class: "stack" }, ...panels.map((one) => one.element ?? one));

/** A figure with its name: `set(text, detail, tone)` changes it. */
export function tile(name, href) {
  const value = h("strong", {}, "–");
  const detail = h("small", {}, "");
  const element = h(href ? "a" : "div", { class: "tile", href }, h("span", { class: "name" }, name), value, detail);
  return {
    element,
    set(text, more = "", tone = "") {
      setText(value, text);
      setText(detail, more);
      setClass(element, `tile ${tone}`);
    },
  };
}
