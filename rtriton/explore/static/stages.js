// The IR pane: one of the passes, whole or as what it changed.

import { find, make } from "./dom.js";

export class Stages {
  /** `code`: the pane's Code; `changed()` is called when another pass is shown. */
  constructor(pane, code, changed) {
    this.code = code;
    this.changed = changed;
    this.select = find("#stage", pane);
    this.strip = find("#strip", pane);
    this.reason = find("#reason", pane);
    this.toggle = find("#diff", pane);
    this.stages = [];
    this.index = -1;
    this.name = "";
    this.select.addEventListener("change", () => this.go(Number(this.select.value)));
    this.strip.addEventListener("click", (event) => {
      const step = event.target.closest("button");
      if (step) this.go(Number(step.value));
    });
    find("#previous", pane).addEventListener("click", () => this.step(-1));
    find("#next", pane).addEventListener("click", () => this.step(1));
    this.toggle.addEventListener("click", () => this.switch());
  }

  get whole() { return this.toggle.getAttribute("aria-pressed") !== "true"; }

  show(stages) {
    this.stages = stages.filter((stage) => stage.language === "tir");
    const counts = this.stages.map(changes);
    this.select.replaceChildren(...this.stages.map((stage, i) =>
      make("option", "", label(stage, counts[i]), { value: i })));
    const most = Math.max(1, ...counts.map(({ plus, minus }) => plus + minus));
    this.strip.replaceChildren(...this.stages.map((stage, i) => {
      const { plus, minus } = counts[i];
      const bar = make("i");
      bar.style.height = stage.same ? "0" : `${Math.round(20 + 80 * Math.sqrt((plus + minus) / most))}%`;
      return make("button", stage.same ? "same" : "", bar,
        { value: i, title: label(stage, counts[i]), type: "button", ariaLabel: label(stage, counts[i]) });
    }));
    // the pass that was looked at, else the last one that changed something
    const kept = this.index >= 0 && this.stages[this.index]?.name === this.name ? this.index : -1;
    this.go(kept >= 0 ? kept : this.stages.findLastIndex((stage) => !stage.same));
  }

  go(index) {
    if (!this.stages[index]) return;
    this.index = index;
    this.name = this.stages[index].name;
    this.select.value = index;
    [...this.strip.children].forEach((step, i) => step.setAttribute("aria-current", i === index));
    const stage = this.stages[index];
    this.reason.textContent = index ? `${stage.name}: ${stage.reason}` : stage.reason;
    this.code.show(this.whole || !stage.diff ? whole(stage) : parts(stage, this.stages[index - 1]), "tir",
      `${stage.name} changed nothing`);
    this.changed();
  }

  /** To the nearest pass in a direction that changed something. */
  step(by) {
    let to = this.index + by;
    while (this.stages[to]?.same) to += by;
    this.go(to);
  }

  switch() {
    this.toggle.setAttribute("aria-pressed", this.whole);
    this.go(this.index);
  }
}

function whole(stage) {
  return stage.lines.map(([text, keys], i) => ({ text, keys, number: i + 1 }));
}

const AROUND = 3;

/** The lines that changed, marked, with some around them. */
function parts(stage, before) {
  const rows = stage.diff.map(([mark, line, start, end]) =>
    ({ mark, line, changed: start === undefined ? null : [start, end], from: mark === "-" ? before : stage }));
  const near = rows.map((_, i) => rows.slice(Math.max(0, i - AROUND), i + AROUND + 1).some(({ mark }) => mark !== " "));
  const shown = [];
  rows.forEach(({ mark, line, changed, from }, i) => {
    if (!near[i]) return;
    if (shown.length && !near[i - 1]) shown.push({ text: "⋯", keys: [] });
    const [text, keys] = from.lines[line];
    shown.push({ text, keys, mark, changed, number: mark === "-" ? null : line + 1 });
  });
  return shown;
}

function changes(stage) {
  const count = (wanted) => (stage.diff ?? []).filter(([mark]) => mark === wanted).length;
  return { plus: count("+"), minus: count("-") };
}

function label(stage, { plus, minus }) {
  if (!stage.diff) return stage.name;
  return stage.same ? `${stage.name}   no change` : `${stage.name}   +${plus} −${minus}`;
}
