// What a request says beside its messages: the system prompt, the sampling fields that are set, the key.

import { getKey, setKey } from "./api.js";
import { find, make } from "./dom.js";

const STEPS = {
  temperature: 0.1, top_p: 0.05, min_p: 0.01, presence_penalty: 0.1, frequency_penalty: 0.1, repetition_penalty: 0.05,
};
const WITHOUT = { max_tokens: "up to the context", seed: "random", stop: "none; one a line, \\n is a line end" };
const WIDE = new Set(["max_tokens", "stop"]);

/** A value that cannot be sent; `param` is its field. */
export class Unfit extends Error {
  constructor(param, message) {
    super(`${param}: ${message}`);
    this.param = param;
  }
}

export class Settings {
  constructor(onKey) {
    this.fields = {};
    this.panel = find("#settings");
    const key = find("#key");
    key.value = getKey();
    key.addEventListener("change", () => { setKey(key.value); onKey(); });
    find("#reset").addEventListener("click", () => this.reset());
    find("#open-settings").addEventListener("click", () => this.open(!this.panel.classList.contains("open")));
    addEventListener("keydown", (event) => { if (event.key === "Escape") this.open(false); });
    addEventListener("hashchange", () => this.open(false));
  }

  /** On a narrow screen the settings cover the conversation. */
  open(wanted) {
    const button = find("#open-settings");
    if (wanted === this.panel.classList.contains("open")) return;
    this.panel.classList.toggle("open", wanted);
    button.setAttribute("aria-expanded", String(wanted));
    button.textContent = wanted ? "Done" : "Settings";
    if (!wanted && this.panel.contains(document.activeElement)) button.focus();
  }

  /** Controls for the fields that the server has, with its defaults behind them. */
  begin(info) {
    const typed = Object.fromEntries(Object.entries(this.fields).map(([name, { input }]) => [name, input.value]));
    this.fields = Object.fromEntries(Object.entries(info.fields).map(([name, field]) => [name, control(name, field)]));
    for (const [name, value] of Object.entries(typed)) if (name in this.fields) this.fields[name].input.value = value;
    find("#controls").replaceChildren(...Object.values(this.fields).map(({ label }) => label));
    for (const { input } of Object.values(this.fields)) input.addEventListener("input", () => this.mark());
    find("#system").disabled = !info.chat;
    this.mark();
  }

  get system() { return find("#system").value.trim(); }

  /** The fields that are set, as they are sent. `Unfit` names one that cannot be. */
  values() {
    this.mark();
    return Object.fromEntries(Object.entries(this.fields).flatMap(([name, { input, field }]) => {
      const value = field.type === "array" ? stops(input.value) : number(name, input, field);
      return value === null ? [] : [[name, value]];
    }));
  }

  reset() {
    for (const { input } of Object.values(this.fields)) input.value = "";
    this.mark();
    find("#controls input").focus();
  }

  mark() {
    for (const { label, input } of Object.values(this.fields)) {
      input.removeAttribute("aria-invalid");
      label.classList.toggle("set", isSet(input));
    }
    find("#reset").hidden = !Object.values(this.fields).some(({ input }) => isSet(input));
  }

  /** The server or this page found a field wrong. */
  blame(param) {
    const found = this.fields[(param ?? "").replace(/\[.*$/, "")];
    if (!found) return;
    found.input.setAttribute("aria-invalid", "true");
    found.input.scrollIntoView({ block: "nearest" });
  }

  wantKey() {
    this.open(true);
    const key = find("#key");
    key.placeholder = "Needed";
    if (!document.activeElement || document.activeElement === document.body) key.focus();
    key.scrollIntoView({ block: "nearest" });
  }
}

const isSet = (input) => input.value !== "" || (input.validity?.badInput ?? false);

function control(name, field) {
  const list = field.type === "array";
  const preset = WITHOUT[name] && (list || field.default === null) ? WITHOUT[name] : String(field.default);
  const input = list ? make("textarea", "", [], { rows: 2 }) : make("input", "", [], { type: "number", inputMode: "decimal" });
  Object.assign(input, { placeholder: preset, id: `field-${name}`, autocomplete: "off", spellcheck: false });
  if (!list) {
    const top = field.maximum ?? (field.exclusiveMaximum <= Number.MAX_SAFE_INTEGER ? field.exclusiveMaximum - 1 : undefined);
    if (field.minimum >= Number.MIN_SAFE_INTEGER) input.min = field.minimum;
    if (top !== undefined) input.max = top;
    input.step = field.type === "integer" ? 1 : STEPS[name] ?? "any";
  }
  const classes = WIDE.has(name) ? "control full" : "control";
  const label = make("label", classes, [make("span", "", name), input], { htmlFor: input.id });
  return { label, input, field };
}

function number(name, input, field) {
  if (input.validity.badInput) throw new Unfit(name, "this is no number.");
  if (input.value === "") return null;
  const value = Number(input.value);
  if (field.type !== "integer" || Number.isSafeInteger(value)) return value;
  throw new Unfit(name, Number.isInteger(value) ? "a browser has no numbers beyond 2^53." : "a whole number is needed.");
}

function stops(text) {
  const lines = text.split("\n").filter((line) => line !== "").map((line) => line.replaceAll("\\n", "\n"));
  return lines.length ? lines : null;
}
