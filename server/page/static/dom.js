// Making elements. Text becomes text: nothing that comes from a model, a person or a server is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element with classes, children (elements or text) and properties; names with a dash are attributes. */
export function make(tag, classes = "", children = [], properties = {}) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  element.append(...[].concat(children));
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  return element;
}

/** An element of a drawing. */
export function draw(tag, attributes = {}, children = []) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...[].concat(children));
  return element;
}

export const find = (selector, within = document) => within.querySelector(selector);

/** Three figures at most, and thousands apart: 1234.5 -> "1,235", 0.0421 -> "0.0421". */
export function figure(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString("en");
  return String(+value.toPrecision(3));
}

/** 96576768 -> "92.1 MiB". */
export function size(bytes) {
  const [unit, factor] = [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]].find(([, each]) => bytes >= each) ?? ["B", 1];
  return `${figure(bytes / factor)} ${unit}`;
}

/** Seconds in words: 0.042 -> "42 ms", 3.21 -> "3.2 s", 75 -> "1 min 15 s". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  if (seconds < 0.9995) return `${figure(+(seconds * 1000).toPrecision(seconds < 0.1 ? 2 : 3))} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return whole % 60 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${whole / 60} min`;
}

/** Put a text on the clipboard and say so on the button, which says "Copy" again after a moment. */
export async function copy(button, text) {
  clearTimeout(button.said);
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed";
  }
  button.said = setTimeout(() => { button.textContent = "Copy"; }, 1500);
}
