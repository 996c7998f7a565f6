// One turn of the conversation and its buttons. An answer is drawn at most once a frame, however fast its tokens come.

import { copy, duration, figure, find, make } from "./dom.js";
import { show } from "./markdown.js";

const button = (text, act) => make("button", "quiet small", text, { type: "button", onclick: act });
const ENDED = { length: "cut at max_tokens", stop: "", tool_calls: "asks for a tool" };

export class Turn {
  /** `acts`: what the buttons do: `edited(turn, words)`, `again(turn)`, and `editing()` before an edit. */
  constructor(role, text, acts) {
    Object.assign(this, { role, text, acts });
    this.said = make("div", "said", [], role === "user" ? { dir: "auto" } : {});
    this.foot = make("div", "foot");
    this.element = make("article", `turn ${role}`, [this.said, this.foot], { "aria-label": role === "user" ? "You" : "Answer" });
    if (role === "user") {
      this.said.textContent = text;
      this.foot.append(this.copier(), button("Edit", () => this.edit()));
    }
  }

  copier() {
    const made = button("Copy", () => copy(made, this.text));
    return made;
  }

  // ---- an answer ------------------------------------------------------------------------------------

  start() {
    this.asked = performance.now();
    this.first = this.last = this.frame = null;
    this.pieces = 0;
    this.usage = this.reason = null;
    this.said.classList.add("waiting");
    this.element.setAttribute("aria-busy", "true");
  }

  /** An event of the stream; `drawn` is called once its text is there to see. */
  take(event, drawn) {
    this.usage = event.usage ?? this.usage;
    const [choice] = event.choices ?? [];
    this.reason = choice?.finish_reason ?? this.reason;
    const piece = choice?.delta?.content;
    if (!piece) return;
    this.last = performance.now();
    this.first ??= this.last;
    this.pieces += 1;
    this.text += piece;
    this.frame ??= requestAnimationFrame(() => { this.draw(); drawn(); });
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = null;
    this.said.classList.remove("waiting");
    show(this.said, this.text);
  }

  /** `how` it ended where that was not the server's doing. */
  end(how = "") {
    this.draw();
    this.element.removeAttribute("aria-busy");
    const said = [...this.speed(), how || ENDED[this.reason] || ""].filter(Boolean);
    if (!this.text) said.push("an empty answer");
    this.foot.replaceChildren(...(this.text ? [this.copier()] : []), button("Again", () => this.acts.again(this)),
      make("span", "speed", said.join(" · ")));
  }

  /** Tokens, time to the first one, and the rate of those after it, as seen from here. */
  speed() {
    if (this.first === null) return [];
    const tokens = this.usage?.completion_tokens;
    const count = tokens ?? this.pieces;
    const seconds = (this.last - this.first) / 1000;
    const found = [`${tokens === undefined ? "about " : ""}${figure(count)} token${count === 1 ? "" : "s"}`,
      `first after ${duration((this.first - this.asked) / 1000)}`];
    if (count > 1 && seconds > 0) found.push(`${figure((count - 1) / seconds)} tokens/s`);
    return found;
  }

  fail(message) {
    if (this.text) this.draw();
    this.said.classList.remove("waiting");
    this.element.removeAttribute("aria-busy");
    const alert = make("div", "alert", [make("span", "", message), button("Try again", () => this.acts.again(this))]);
    alert.setAttribute("role", "alert");
    this.element.append(alert);
  }

  // ---- a message ------------------------------------------------------------------------------------

  edit() {
    this.acts.editing();
    const box = make("textarea", "", [], { value: this.text, dir: "auto", "aria-label": "The message in other words" });
    const close = () => { form.replaceWith(this.said, this.foot); find("button:last-of-type", this.foot).focus(); };
    const send = () => { if (box.value.trim()) this.acts.edited(this, box.value.trim()); };
    const form = make("div", "edit", [box, make("div", "row", [
      button("Cancel", close), make("button", "primary small", "Send", { type: "button", onclick: send })])]);
    box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close();
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      send();
    });
    this.foot.remove();
    this.said.replaceWith(form);
    box.focus();
  }
}
