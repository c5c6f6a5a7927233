// Signing in and out: a key in exchange for a cookie, which no script can read.

import { fill, h, setText } from "./dom.js";
import { access, get, send } from "./rest.js";

/** The session of this browser. `admitted()` is called after the recorder let this browser in. */
export class Session {
  constructor(dialog, button, admitted) {
    this.dialog = dialog;
    this.button = button;
    this.admitted = admitted;
    this.problem = h("p", { class: "bad", role: "alert" });
    this.key = h("input", { type: "password", autocomplete: "current-password", required: true, spellcheck: "false" });
    // For password managers, which store a name with each password.
    const name = h("input", { autocomplete: "username", value: "decahertz", hidden: true });
    const label = h("label", {}, "Key", this.key);
    const form = h("form", { onsubmit: (event) => this.#submit(event) }, name, label, h("button", {}, "Sign in"));
    const command = h("code", {}, "decahertz keys create NAME --scope read");
    fill(dialog, h("h2", {}, "Sign in"), h("p", {}, "This recorder requires a key: ", command, " makes one."), form, this.problem);
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    button.addEventListener("click", () => this.#signOut());
    access.refused = () => this.#ask();
  }

  /** Asks the recorder whether it lets this browser in; shows the form if it does not. */
  async check() {
    try {
      this.#enter(await get("session"));
      return true;
    } catch (error) {
      return error.status !== 401;
    }
  }

  #enter(info) {
    this.button.hidden = info.expires_ns === null;
    this.button.title = `Signed in with the key ${info.name}`;
  }

  #ask() {
    if (this.dialog.open) return;
    this.button.hidden = true;
    this.dialog.showModal();
    this.key.focus();
  }

  async #submit(event) {
    event.preventDefault();
    const key = this.key.value.trim();
    this.key.value = "";
    setText(this.problem, "");
    try {
      this.#enter(await send("POST", "session", { key }));
      this.dialog.close();
      this.admitted();
    } catch (error) {
      setText(this.problem, `Not signed in: ${error.message}.`);
      this.key.focus();
    }
  }

  async #signOut() {
    await send("DELETE", "session").catch(() => null);
    location.reload();
  }
}
