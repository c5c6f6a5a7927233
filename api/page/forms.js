// Forms and dialogs of the views that change something.

import { fill, h, setText } from "./dom.js";

/** A labelled control of a form. */
export function field(title, control) {
  control.setAttribute("aria-label", title); // a browser would add the texts of the options
  return h("label", {}, title, control);
}

/** A choice of values; a value may be `[value, title]`. */
export function choice(name, values) {
  const options = values.map((one) => (Array.isArray(one) ? h("option", { value: one[0] }, one[1]) : h("option", { value: one }, one)));
  return h("select", { name }, ...options);
}

/** Names that an input offers while one types. */
export class Suggestions {
  constructor(id) {
    this.element = h("datalist", { id });
    this.shown = "";
  }

  offer(names) {
    const sorted = [...new Set(names)].sort();
    if (this.shown === sorted.join("\n")) return;
    this.shown = sorted.join("\n");
    fill(this.element, ...sorted.map((name) => h("option", { value: name })));
  }
}

/** Asks before something is done: what will happen, and a reason where one is required. */
export class Confirmation {
  constructor() {
    this.text = h("p");
    this.list = h("dl");
    this.reason = h("input", { name: "reason", maxlength: "1024", autocomplete: "off" });
    this.reasonField = field("Reason", this.reason);
    this.problem = h("p", { class: "bad", role: "alert" });
    this.yes = h("button", { class: "act" }, "Confirm");
    this.no = h("button", { type: "button", onclick: () => this.element.close() }, "Back");
    this.heading = h("h2");
    const form = h("form", { class: "rows", onsubmit: (event) => this.#submit(event) }, this.reasonField, h("div", { class: "actions" }, this.no, this.yes));
    this.element = h("dialog", { class: "confirm", "aria-label": "Confirm" }, this.heading, this.text, this.list, form, this.problem);
  }

  /** Shows the dialog; `act(reason)` does it, and its error is shown. `facts` are pairs of name and value. */
  ask({ title, text, facts = [], button, needsReason = false, reason = "", act }) {
    setText(this.heading, title);
    setText(this.text, text);
    fill(this.list, ...facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    setText(this.yes, button);
    setText(this.problem, "");
    this.reasonField.hidden = !needsReason;
    this.reason.required = needsReason;
    this.reason.value = reason;
    this.act = act;
    this.element.showModal();
    (needsReason && !reason ? this.reason : this.no).focus();
  }

  async #submit(event) {
    event.preventDefault();
    this.yes.disabled = true;
    setText(this.problem, "");
    try {
      await this.act(this.reason.value.trim());
      this.element.close();
    } catch (error) {
      setText(this.problem, error.message);
    } finally {
      this.yes.disabled = false;
    }
  }
}

/** The values of a form by name: empty ones are left out, numbers are numbers. */
export function values(form) {
  const found = {};
  for (const control of form.elements) {
    const text = control.value?.trim();
    if (!control.name || !text || control.disabled || control.closest("[hidden]")) continue;
    found[control.name] = control.type === "number" ? Number(text) : text;
  }
  return found;
}
