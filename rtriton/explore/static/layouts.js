// Layouts as coloured tiles: which thread holds each element, in which register. An element's place is the xor of the
// bases of the set bits of register, lane and warp; bases are row-major indices.

import { find, make } from "./dom.js";

const MOST_PLACES = 1 << 21;
const DISTRIBUTED = ["register", "lane", "warp"];
const LEAST_CELL = 3;
const MOST_CELL = 46;
const TEXT_CELL = 27;
const RULER = 30;
const LENS_CELLS = 8;
const LENS_CELL = 34;

/** The drawing of a canvas of so many pixels, sharp on every screen. */
function prepared(canvas, width, height) {
  const scale = window.devicePixelRatio || 1;
  canvas.width = width * scale;
  canvas.height = height * scale;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  return context;
}

const elementsOf = ({ shape }) => shape.reduce((product, n) => product * n, 1);
const xorOf = (columns, index) => columns.reduce((sum, column, bit) => ((index >> bit) & 1 ? sum ^ column : sum), 0);

/** Where each element is: arrays over elements of the first place that holds it, and how many others do. */
export function placesOf(layout) {
  const elements = elementsOf(layout);
  if ("offset" in layout.bases) {
    const offset = new Int32Array(elements);
    const { offset: columns } = layout.bases;
    for (let at = 0; at < 1 << columns.length; at++) offset[xorOf(columns, at)] = at;
    return { elements, offset };
  }
  const [registers, lanes, warps] = DISTRIBUTED.map((dim) => layout.bases[dim] ?? []);
  const places = 1 << (registers.length + lanes.length + warps.length);
  if (places > MOST_PLACES) return { elements, tooMany: places };
  const made = { elements, registers: (1 << registers.length) - 1, register: new Int32Array(elements).fill(-1), lane: new Int32Array(elements),
    warp: new Int32Array(elements), copies: new Int32Array(elements) };
  for (let warp = 0; warp < 1 << warps.length; warp++) {
    for (let lane = 0; lane < 1 << lanes.length; lane++) {
      const base = xorOf(warps, warp) ^ xorOf(lanes, lane);
      for (let register = 0; register < 1 << registers.length; register++) {
        const element = base ^ xorOf(registers, register);
        if (made.register[element] >= 0) { made.copies[element] += 1; continue; }
        made.register[element] = register;
        made.lane[element] = lane;
        made.warp[element] = warp;
      }
    }
  }
  return made;
}

/** The name of the largest tile that threads hold: what one most likely wants to see. */
function largest(layouts) {
  const held = Object.keys(layouts).filter((name) => !("offset" in layouts[name].bases));
  return held.reduce((best, name) => (elementsOf(layouts[name]) > elementsOf(layouts[best]) ? name : best), held[0] ?? "");
}

export class Layouts {
  constructor(drawer) {
    this.drawer = drawer;
    this.canvas = find("#tile", drawer);
    this.names = find("#layouts", drawer);
    this.colours = find("#colours", drawer);
    this.lens = find("#lens", drawer);
    this.slice = find("#slice", drawer);
    this.range = find("#slice input", drawer);
    this.by = "lane";
    this.page = null;
    this.name = "";
    this.over = -1;
    this.canvas.addEventListener("mousemove", (event) => this.hover(event));
    this.canvas.addEventListener("mouseleave", () => this.at(-1));
    this.canvas.addEventListener("keydown", (event) => this.walk(event));
    this.range.addEventListener("input", () => this.draw());
    this.names.addEventListener("click", (event) => {
      const tab = event.target.closest("button");
      if (tab) this.open(tab.value);
    });
    this.colours.addEventListener("click", (event) => {
      const choice = event.target.closest("button");
      if (choice) { this.by = choice.value; this.draw(); }
    });
    new ResizeObserver(() => this.draw()).observe(find(".canvas", drawer));
  }

  show(page) {
    this.page = page;
    this.names.replaceChildren(...Object.entries(page.layouts).map(([name, { shape }]) =>
      make("button", "", [make("b", "", name), ` ${shape.join("×") || "scalar"}`], { value: name, type: "button", role: "tab" })));
    if (!(this.name in page.layouts)) this.name = largest(page.layouts);
    if (!this.drawer.hidden) this.open(this.name);
  }

  open(name) {
    if (!(name in this.page.layouts)) return;
    this.name = name;
    this.drawer.hidden = false;
    const layout = this.page.layouts[name];
    this.places = placesOf(layout);
    [...this.names.children].forEach((tab) => tab.setAttribute("aria-selected", tab.value === name));
    find("#words", this.drawer).textContent = layout.words;
    find("#bases", this.drawer).textContent = layout.text;
    find("#used", this.drawer).textContent = this.users(name);
    const ranks = layout.shape.length;
    const slices = layout.shape.slice(0, Math.max(0, ranks - 2)).reduce((product, n) => product * n, 1);
    this.slice.hidden = slices < 2;
    this.range.max = slices - 1;
    this.range.value = 0;
    const choices = "offset" in layout.bases ? ["bank"] : DISTRIBUTED;
    if (!choices.includes(this.by)) this.by = choices.includes("lane") ? "lane" : choices[0];
    this.colours.replaceChildren(...choices.map((choice) => make("button", "", choice, { value: choice, type: "button" })));
    this.at(-1);
  }

  close() { this.drawer.hidden = true; }

  toggle() { if (this.drawer.hidden) this.open(this.name); else this.close(); }

  /** The source lines whose tiles lie so. */
  users(name) {
    const lines = Object.entries(this.page.report.lines).filter(([, { layouts }]) => layouts.includes(name));
    return lines.length ? `tiles of line ${lines.map(([key]) => key.split(":")[1]).join(", ")}` : "";
  }

  /** Rows and columns of what is drawn, and the first element: long runs of one axis are broken into rows. */
  grid() {
    const { shape } = this.page.layouts[this.name];
    const last = shape[shape.length - 1] ?? 1;
    const before = shape.length > 1 ? shape[shape.length - 2] : 1;
    if (shape.length <= 1) {
      const columns = Math.min(last, last > 1024 ? 64 : 32);
      return { columns, rows: last / columns, first: 0 };
    }
    return { columns: last, rows: before, first: Number(this.range.value) * last * before };
  }

  draw() {
    if (this.drawer.hidden || !this.page) return;
    const room = find(".canvas", this.drawer);
    const { columns, rows, first } = this.grid();
    this.slice.querySelector("output").textContent = this.range.value;
    [...this.colours.children].forEach((choice) => choice.setAttribute("aria-pressed", choice.value === this.by));
    const fit = Math.min((room.clientWidth - 24 - RULER) / columns, (room.clientHeight - 24 - RULER) / rows);
    const cell = Math.max(LEAST_CELL, Math.min(MOST_CELL, Math.floor(fit)));
    this.cell = cell;
    const context = prepared(this.canvas, columns * cell + RULER, rows * cell + RULER);
    if (this.places.tooMany) return;
    const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
    this.rulers(context, columns, rows, dark);
    context.translate(RULER, RULER);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        this.paint(context, first + row * columns + column, column * cell, row * cell, cell, dark);
      }
    }
    this.magnify(dark);
  }

  /** Indices along both axes, as many as there is room for. */
  rulers(context, columns, rows, dark) {
    context.font = "10px ui-monospace, monospace";
    context.fillStyle = dark ? "#8b93a7" : "#6b7484";
    const every = Math.max(1, 2 ** Math.ceil(Math.log2(24 / this.cell)));
    const down = this.page.layouts[this.name].shape.length > 1 ? 1 : columns;
    context.textAlign = "left";
    for (let column = 0; column < columns; column += every) context.fillText(column, RULER + column * this.cell, RULER - 6);
    context.textAlign = "right";
    for (let row = 0; row < rows; row += every) context.fillText(row * down, RULER - 5, RULER + row * this.cell + 9);
  }

  /** What is around the element under the pointer, large enough for words. */
  magnify(dark) {
    const { columns, rows, first } = this.grid();
    this.lens.hidden = this.over < 0 || this.cell >= TEXT_CELL || Boolean(this.places.tooMany);
    if (this.lens.hidden) return;
    const context = prepared(this.lens, LENS_CELLS * LENS_CELL, LENS_CELLS * LENS_CELL);
    const start = (at, size) => Math.max(0, Math.min(at - (LENS_CELLS >> 1), size - LENS_CELLS));
    const top = start(Math.floor((this.over - first) / columns), rows);
    const left = start((this.over - first) % columns, columns);
    for (let row = top; row < Math.min(rows, top + LENS_CELLS); row++) {
      for (let column = left; column < Math.min(columns, left + LENS_CELLS); column++) {
        this.paint(context, first + row * columns + column, (column - left) * LENS_CELL, (row - top) * LENS_CELL, LENS_CELL, dark);
      }
    }
  }

  /** One element as a square. */
  paint(context, element, x, y, cell, dark) {
    const gap = cell > 8 ? 1 : 0;
    const same = this.over >= 0 && this.together(element, this.over);
    context.fillStyle = this.colour(element, dark, this.over >= 0 && !same);
    context.fillRect(x, y, cell - gap, cell - gap);
    if (same) {
      context.strokeStyle = dark ? "#fff" : "#000";
      context.lineWidth = element === this.over ? 2.5 : 1.2;
      context.strokeRect(x + 1, y + 1, cell - gap - 2, cell - gap - 2);
    }
    if (cell >= TEXT_CELL) {
      context.font = `${Math.min(11, Math.floor(cell / 3))}px ui-monospace, monospace`;
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.fillStyle = dark ? "rgba(255,255,255,.92)" : "rgba(0,0,0,.85)";
      context.fillText(this.label(element), x + cell / 2, y + cell / 2);
    }
  }

  label(element) {
    const { offset, lane, register } = this.places;
    return offset ? offset[element] : `${lane[element]}:${register[element]}`;
  }

  /** Whether two elements belong together: one thread holds both, or they are neighbours of one run in shared memory. */
  together(a, b) {
    const { offset, lane, warp } = this.places;
    return offset ? a === b : lane[a] === lane[b] && warp[a] === warp[b];
  }

  colour(element, dark, faint) {
    const { offset, lane, warp, register } = this.places;
    const light = dark ? 42 : 74;
    let hue = 0;
    let level = light;
    if (offset) { hue = (offset[element] % 32) * 11.25; } else if (this.by === "warp") {
      hue = 210 + warp[element] * 67;
      level += ((lane[element] % 8) - 4) * 0.9;
    } else if (this.by === "lane") {
      hue = lane[element] * 11.25 + 200;
      level += warp[element] % 2 ? -7 : 4;
    } else {
      const most = Math.max(1, this.places.registers);
      hue = 215;
      level = dark ? 24 + (42 * register[element]) / most : 90 - (50 * register[element]) / most;
    }
    return `hsl(${hue % 360} ${faint ? 16 : 58}% ${faint ? (dark ? 22 : 88) : level}%)`;
  }

  hover(event) {
    const { columns, rows, first } = this.grid();
    const column = Math.floor((event.offsetX - RULER) / this.cell);
    const row = Math.floor((event.offsetY - RULER) / this.cell);
    const inside = column >= 0 && row >= 0 && column < columns && row < rows;
    this.at(inside ? first + row * columns + column : -1);
  }

  /** Arrow keys move over the tile. */
  walk(event) {
    const { columns, rows, first } = this.grid();
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    const to = this.over < 0 ? first : this.over + by;
    if (to >= first && to < first + columns * rows) this.at(to);
  }

  at(element) {
    this.over = element;
    find("#place", this.drawer).textContent = element < 0 ? this.hint() : this.sentence(element);
    this.draw();
  }

  hint() {
    const { tooMany } = this.places;
    return tooMany ? "This tile is too large to draw." : "Point at an element: the others of its thread light up.";
  }

  sentence(element) {
    const { shape } = this.page.layouts[this.name];
    const at = [];
    for (let axis = shape.length - 1, rest = element; axis >= 0; axis--) { at.unshift(rest % shape[axis]); rest = Math.floor(rest / shape[axis]); }
    const { offset, register, lane, warp, copies } = this.places;
    const where = `element (${at.join(", ")})`;
    if (offset) return `${where}: offset ${offset[element]}`;
    const copied = copies[element] ? `, and in ${copies[element]} other places` : "";
    return `${where}: warp ${warp[element]}, lane ${lane[element]}, register ${register[element]}${copied}`;
  }
}
