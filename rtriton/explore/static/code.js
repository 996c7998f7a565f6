// A pane of code: lines with numbers, each linked to places in the source; lit lines show as ticks beside the scrollbar.

import { make } from "./dom.js";
import { tokens } from "./tokens.js";

const MOST_TICKS = 400;

/** Pieces of a line, those in the changed part with a further kind; plain text is cut where that begins and ends. */
function cut(pieces, changed) {
  if (!changed || changed[0] >= changed[1]) return pieces;
  const made = [];
  let at = 0;
  for (const [kind, text] of pieces) {
    const inner = kind ? [] : changed.filter((column) => column > at && column < at + text.length);
    const ends = [at, ...inner, at + text.length];
    for (let i = 1; i < ends.length; i++) {
      const inside = ends[i] > changed[0] && ends[i - 1] < changed[1];
      made.push([inside ? `${kind} changed` : kind, text.slice(ends[i - 1] - at, ends[i] - at)]);
    }
    at += text.length;
  }
  return made;
}

export class Code {
  /** `on.hover(keys)`, `on.hold(keys)`, `on.layout(name)`: what happens to a line or to the name of a layout. */
  constructor(root, on) {
    this.root = root;
    this.lines = [];
    this.byKey = new Map();
    this.lit = [];
    this.list = make("div", "lines");
    this.ticks = make("div", "ticks");
    root.replaceChildren(this.list);
    root.after(this.ticks);
    this.list.addEventListener("mouseover", (event) => {
      const line = event.target.closest(".line");
      if (line) on.hover(line.keys);
    });
    this.list.addEventListener("mouseleave", () => on.hover(null));
    this.list.addEventListener("click", (event) => {
      const name = event.target.closest(".layout");
      if (name) { on.layout(name.textContent.replace("#", "")); return; }
      const line = event.target.closest(".line");
      if (line && !String(getSelection())) on.hold(line.keys, this);
    });
  }

  /** Show lines: { text, keys, mark, number, below, changed }: `below` is an element under the line, `changed` the
   * columns from and to which it is another than the line before it was. */
  show(lines, language, empty = "") {
    const top = this.root.scrollTop;
    this.byKey.clear();
    this.lit = [];
    const made = lines.map((line) => this.line(line, language));
    this.lines = made.filter((element) => element.classList.contains("line"));
    this.list.replaceChildren(...made.flat());
    if (!lines.length) this.list.append(make("p", "empty", empty));
    this.root.scrollTop = top;
    this.ticks.replaceChildren();
  }

  line({ text, keys, mark = "", number = null, below = null, changed = null }, language) {
    const kinds = { "+": " added", "-": " gone" };
    const pieces = cut(tokens(language, text), changed);
    const code = make("code", "", pieces.map(([kind, piece]) => (kind ? make("span", kind, piece) : piece)));
    const parts = [make("span", "number", number ?? ""), make("span", "mark", mark.trim()), code];
    const element = make("div", `line${kinds[mark] ?? ""}`, parts, { keys: keys ?? [] });
    for (const key of element.keys) {
      if (!this.byKey.has(key)) this.byKey.set(key, []);
      this.byKey.get(key).push(element);
    }
    if (below) element.append(below);
    return element;
  }

  /** Light the lines of these places: of the first strongly, of the calls around it weakly. */
  light(keys, held) {
    for (const element of this.lit) element.classList.remove("lit", "near", "held");
    this.lit = [];
    (keys ?? []).forEach((key, depth) => {
      for (const element of this.byKey.get(key) ?? []) {
        if (depth && element.keys[0] !== key) continue;
        element.classList.add(depth ? "near" : "lit");
        if (held) element.classList.add("held");
        this.lit.push(element);
      }
    });
  }

  /** Where the lit lines are: read for all panes before any is written to, since each reading lays the page out. */
  heights() {
    const height = this.list.scrollHeight;
    if (!this.lit.length || height <= this.root.clientHeight) return null;
    const tops = this.lit.slice(0, MOST_TICKS).map((element) => (100 * element.offsetTop) / height);
    return { tops: new Set(tops.map((top) => top.toFixed(1))), top: this.root.offsetTop, height: this.root.clientHeight };
  }

  /** Marks beside the scrollbar at these heights. */
  tick(heights) {
    if (!heights) { this.ticks.replaceChildren(); return; }
    this.ticks.style.top = `${heights.top}px`;
    this.ticks.style.height = `${heights.height}px`;
    this.ticks.replaceChildren(...[...heights.tops].map((top) => {
      const tick = make("i");
      tick.style.top = `${top}%`;
      return tick;
    }));
  }

  /** Bring the first lit line into view, unless one is there. */
  follow() {
    const [first] = this.lit;
    if (!first) return;
    const top = this.root.scrollTop;
    const bottom = top + this.root.clientHeight;
    const seen = this.lit.some((element) => element.offsetTop >= top && element.offsetTop + 20 <= bottom);
    if (!seen) this.root.scrollTop = first.offsetTop - this.root.clientHeight / 3;
  }
}
