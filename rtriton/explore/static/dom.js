// Making elements. Text becomes text: nothing that comes from a kernel or its file is ever read as HTML.

/** An element with classes, children (elements or text) and properties. */
export function make(tag, classes = "", children = [], properties = {}) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  for (const child of [].concat(children)) {
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return Object.assign(element, properties);
}

export const find = (selector, within = document) => within.querySelector(selector);

/** 4096 -> "4 KiB". */
export function size(bytes) {
  for (const [unit, factor] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (bytes >= factor) return `${+(bytes / factor).toPrecision(4)} ${unit}`;
  }
  return `${bytes} B`;
}
