// A small plot of the last minutes: one or two curves, the figures of now, and those of where the pointer is.

import { draw, figure, make } from "./dom.js";

const HEIGHT = 150, LEFT = 4, RIGHT = 4, TOP = 18, BOTTOM = 18;
const SERIES = ["first", "second"];

export class Plot {
  constructor({ title, unit, names, top = null, whole = false }) {
    Object.assign(this, { title, unit, names, top, whole });
    this.points = [];
    this.now = make("span", "now", "–");
    const legend = names.length > 1 ? names.flatMap((name, at) => [make("i", SERIES[at]), name]) : [];
    this.svg = draw("svg", { role: "img", "aria-label": title, height: HEIGHT });
    this.about = make("span", "unit", unit);
    this.element = make("section", "plot", [make("h2", "", title),
      make("header", "", [this.now, this.about, make("span", "legend", legend)]), this.svg]);
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => { this.at = null; this.paint(); });
    new ResizeObserver(() => this.paint()).observe(this.svg);
  }

  /** `points`: `{time, values}`, oldest first; `seconds` are as many as there may be. */
  draw(points, seconds) {
    Object.assign(this, { points, seconds });
    this.paint();
  }

  point(event) {
    const { left, width } = this.svg.getBoundingClientRect();
    const end = this.points.at(-1)?.time ?? 0;
    const time = end - this.seconds * (1 - (event.clientX - left - LEFT) / (width - LEFT - RIGHT));
    const near = this.points.reduce((best, each) =>
      (best && Math.abs(best.time - time) <= Math.abs(each.time - time) ? best : each), null);
    this.at = near && Math.abs(near.time - time) < 3 ? near : null;
    this.paint();
  }

  paint() {
    const width = this.svg.clientWidth;
    if (!this.points.length || !width) return;
    const shown = this.at && this.points.includes(this.at) ? this.at : this.points.at(-1);
    this.say(shown);
    const end = this.points.at(-1).time;
    const highest = Math.max(0, ...this.points.flatMap(({ values }) => values));
    const top = this.top ?? ceiling(highest, this.whole);
    const x = (time) => LEFT + (width - LEFT - RIGHT) * (1 - (end - time) / this.seconds);
    const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
    const curves = this.names.flatMap((_, at) => this.curve(at, x, y)).reverse();
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.svg.replaceChildren(...this.axes(width, top, y), ...curves, ...(this.at ? this.cursor(shown, x, y) : []));
  }

  say(point) {
    const [value] = point.values;
    const words = this.names.map((name, at) => `${figure(point.values[at])} ${name}`).join(", ");
    const ago = Math.round(this.points.at(-1).time - point.time);
    this.now.textContent = this.names.length > 1 ? point.values.map(figure).join(" / ") : figure(value);
    this.about.textContent = ago ? `${this.unit}, ${ago} s ago` : this.unit;
    this.svg.setAttribute("aria-label", `${this.title}, ${this.unit}: ${words}`);
  }

  axes(width, top, y) {
    const right = width - RIGHT;
    const line = (at) => draw("line", { class: "grid", x1: LEFT, x2: right, y1: at, y2: at });
    const text = (words, x, at, anchor) => draw("text", { x, y: at, "text-anchor": anchor }, words);
    return [
      ...[0, top / 2, top].map((value) => line(y(value))),
      text(figure(top), LEFT, y(top) - 5, "start"),
      text(`${this.seconds / 60} min ago`, LEFT, HEIGHT - 4, "start"), text("now", right, HEIGHT - 4, "end"),
    ];
  }

  /** A line broken where nothing is known, and the ground under it. */
  curve(at, x, y) {
    const runs = [[]];
    for (const { time, values } of this.points) {
      if (values[at] === null) runs.push([]);
      else runs.at(-1).push([x(time), y(values[at])]);
    }
    return runs.filter((run) => run.length).flatMap((run) => {
      const path = run.map(([a, b]) => `${a.toFixed(1)} ${b.toFixed(1)}`).join("L");
      const under = `M${run[0][0].toFixed(1)} ${y(0)}L${path}L${run.at(-1)[0].toFixed(1)} ${y(0)}Z`;
      const part = (kind, d) => draw("path", { class: `${kind} ${SERIES[at]}`, d });
      return [part("curve", `M${path}`), part("under", under)];
    });
  }

  cursor({ time, values }, x, y) {
    const marks = values.flatMap((value, at) =>
      (value === null ? [] : [draw("circle", { class: `mark ${SERIES[at]}`, cx: x(time), cy: y(value), r: 3.5 })]));
    return [draw("line", { class: "at", x1: x(time), x2: x(time), y1: TOP, y2: HEIGHT - BOTTOM }), ...marks];
  }
}

/** A round number at or above: 1, 2 or 5 times a power of ten; even for counts, so that their half is one too. */
function ceiling(value, whole) {
  if (whole && value <= 2) return 2;
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const found = [1, 2, 5, 10].map((factor) => factor * power).find((top) => top >= value * 0.999);
  return whole && found === 5 ? 6 : found;
}
