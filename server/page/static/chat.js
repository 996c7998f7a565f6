// The conversation: what has been said, what is being said, and what may be done with it. It is kept in this tab alone.

import { Refusal, stream } from "./api.js";
import { find } from "./dom.js";
import { Turn } from "./turn.js";

const IDEAS = ["What is 2+2?", "Explain in two sentences what a KV cache is.", "Write a haiku about a compiler."];
const NEAR_THE_END = 60;

export class Chat {
  constructor(settings) {
    this.settings = settings;
    this.turns = [];
    this.running = null;
    this.model = null;
    this.place = find("#turns");
    this.ask = find("#ask");
    find("#send").addEventListener("click", () => this.send());
    find("#stop").addEventListener("click", () => this.stop());
    find("#new").addEventListener("click", () => this.clear());
    this.ask.addEventListener("input", () => this.fit());
    this.ask.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.send();
    });
    addEventListener("keydown", (event) => { if (event.key === "Escape") this.stop(); });
    this.update();
  }

  begin(info) {
    this.model = info.model;
    find("#greeting").textContent = `Ask ${info.model}`;
    find("#about").textContent = info.chat ? "It answers from here; nothing of it leaves this server."
      : "This model has no chat template: start the server with --chat-template to chat with it.";
    find("#ideas").replaceChildren(...(info.chat ? IDEAS.map((text) => this.idea(text)) : []));
    this.ask.disabled = !info.chat;
    this.update();
  }

  idea(text) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.addEventListener("click", () => { this.ask.value = text; this.send(); });
    return button;
  }

  /** Say what is in the box. */
  send() {
    const text = this.ask.value.trim();
    if (!text || this.running || !this.model) return;
    this.ask.value = "";
    this.fit();
    this.add("user", text);
    this.answer();
  }

  add(role, text = "") {
    const turn = new Turn(role, text, {
      edited: (it, words) => this.resay(it, words),
      again: (it) => this.again(it),
      editing: () => this.stop(),
    });
    this.turns.push(turn);
    this.place.append(turn.element);
    find("#empty").hidden = true;
    this.place.scrollTop = this.place.scrollHeight;
    return turn;
  }

  /** A message in other words: what came after it is gone. */
  resay(turn, words) {
    this.cut(this.turns.indexOf(turn));
    this.add("user", words);
    this.answer();
  }

  /** Another answer in the place of this one and of what came after it. */
  again(turn) {
    this.cut(this.turns.indexOf(turn));
    this.answer();
  }

  cut(from) {
    this.stop();
    for (const turn of this.turns.splice(from)) turn.element.remove();
  }

  clear() {
    this.cut(0);
    find("#empty").hidden = false;
    this.update();
    this.ask.focus();
  }

  stop() {
    this.running?.abort();
  }

  request() {
    const said = this.turns.filter((turn) => turn.text).map(({ role, text }) => ({ role, content: text }));
    const system = this.settings.system ? [{ role: "system", content: this.settings.system }] : [];
    return {
      model: this.model, messages: [...system, ...said], stream: true, stream_options: { include_usage: true },
      ...this.settings.values(),
    };
  }

  async answer() {
    let body;
    try {
      body = this.request();
    } catch (error) {
      this.failed(this.add("assistant"), error);
      return;
    }
    const turn = this.add("assistant");
    const running = this.running = new AbortController();
    this.update();
    try {
      turn.start();
      for await (const event of stream("/v1/chat/completions", body, running.signal)) {
        const stays = this.atEnd();
        turn.take(event, () => { if (stays) this.place.scrollTop = this.place.scrollHeight; });
      }
      turn.end();
    } catch (error) {
      if (running.signal.aborted) turn.end("stopped");
      else this.failed(turn, error);
    }
    if (this.running === running) this.running = null;
    this.update();
  }

  failed(turn, error) {
    turn.fail(error instanceof TypeError ? "The server cannot be reached." : error.message);
    this.settings.blame(error.param);
    if (error instanceof Refusal && error.status === 401) this.settings.wantKey();
    this.place.scrollTop = this.place.scrollHeight;
  }

  atEnd() {
    return this.place.scrollHeight - this.place.scrollTop - this.place.clientHeight < NEAR_THE_END;
  }

  update() {
    const [send, stop] = [find("#send"), find("#stop")];
    const held = document.activeElement;
    send.hidden = Boolean(this.running);
    send.disabled = !this.model || this.ask.disabled;
    stop.hidden = !this.running;
    find("#new").disabled = !this.turns.length;
    // the keyboard stays where it was of use; on a phone the box would bring up the keys
    if (this.running && (held === send || held === document.body)) stop.focus();
    if (!this.running && held === stop && matchMedia("(pointer: fine)").matches) this.ask.focus();
  }

  /** The box is as high as its text. */
  fit() {
    this.ask.style.height = "auto";
    this.ask.style.height = `${this.ask.scrollHeight}px`;
  }
}
