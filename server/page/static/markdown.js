// A little Markdown into elements, made one by one with their text: there is no HTML on the way, links and pictures stay
// text, and what is not understood stays as it was written.

import { copy, make } from "./dom.js";

const DEEPEST = 6;
const OWN = { dir: "auto" };  // each block is written in the direction of its own first letter

/** Show `text` inside `place`. Blocks that are as they were keep their elements, so that a stream only changes its end. */
export function show(place, text) {
  const blocks = split(text);
  blocks.forEach((block, at) => {
    const old = place.children[at];
    const key = JSON.stringify(block);
    if (old?.key === key) return;
    const made = Object.assign(KINDS[block.kind](block), { key });
    if (old) old.replaceWith(made);
    else place.append(made);
  });
  while (place.children.length > blocks.length) place.lastChild.remove();
}

const KINDS = {
  code: ({ language, lines }) => {
    const text = lines.join("\n");
    const button = make("button", "quiet small", "Copy", { type: "button", onclick: () => copy(button, text) });
    return make("div", "block", [make("div", "top", [make("span", "", language), button]),
      make("pre", "", make("code", "", text), { tabIndex: 0 })]);
  },
  heading: ({ level, lines }) => make(`h${Math.min(6, level + 2)}`, "", inline(lines[0]), OWN),
  rule: () => make("hr"),
  quote: ({ lines }) => make("blockquote", "", inline(lines.join("\n")), OWN),
  list: ({ ordered, start, lines }) => make(ordered ? "ol" : "ul", "", items(lines), ordered ? { start, ...OWN } : OWN),
  table: ({ sides, lines }) => make("div", "scroll",
    make("table", "", lines.map((line, row) => make("tr", "", cellsOf(row ? "td" : "th", line, sides)))), { tabIndex: 0 }),
  text: ({ lines }) => make("p", "", inline(lines.join("\n")), OWN),
};

/** As many as there are columns; a line that has more keeps them. */
const cellsOf = (tag, line, sides) => Array.from({ length: Math.max(line.length, sides.length) },
  (_, at) => make(tag, sides[at] ?? "", inline(line[at] ?? ""), OWN));

const FENCE = /^ {0,3}(```+|~~~+)([^`]*)$/;
const HEADING = /^(#{1,6})\s+(.+?)\s*#*$/;
const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}> ?(.*)$/;
const ROW = /^ {0,3}\|(.*)\|\s*$/;
const SIDES = /^ {0,3}\|(\s*:?-+:?\s*\|)+\s*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;

/** The blocks of a text: `{kind, lines, ...}`. */
function split(text) {
  const blocks = [];
  let open = null;
  const begin = (block) => { blocks.push(block); return block; };
  for (const line of text.split("\n")) {
    if (open?.kind === "code") {
      if (line.trimStart().startsWith(open.fence) && !line.trim().replaceAll(open.fence[0], "")) open = null;
      else open.lines.push(line);
      continue;
    }
    const [fence, heading, quote, item] = [FENCE, HEADING, QUOTE, ITEM].map((pattern) => pattern.exec(line));
    if (fence) open = begin({ kind: "code", fence: fence[1], language: fence[2].trim(), lines: [] });
    else if (!line.trim()) open = open?.kind === "list" ? Object.assign(open, { gap: true }) : null;
    else if (heading) { begin({ kind: "heading", level: heading[1].length, lines: [heading[2]] }); open = null; }
    else if (open?.kind === "table" && ROW.test(line)) open.lines.push(cells(line));
    else if (SIDES.test(line) && open?.kind === "text" && ROW.test(open.lines.at(-1))) open = tabled(open, line, blocks);
    else if (RULE.test(line)) { begin({ kind: "rule", lines: [] }); open = null; }
    else if (quote) (open?.kind === "quote" ? open : open = begin({ kind: "quote", lines: [] })).lines.push(quote[1]);
    else if (item) open = listed(open, item, begin);
    else if (open?.kind === "list" && (!open.gap || /^\s{2,}/.test(line))) open.lines.at(-1).text += `\n${line.trim()}`;
    else (open?.kind === "text" ? open : open = begin({ kind: "text", lines: [] })).lines.push(line);
  }
  return blocks;
}

/** The last line of the text was the head of a table, and this line says how its columns are set. */
function tabled(text, line, blocks) {
  const head = cells(text.lines.pop());
  if (!text.lines.length) blocks.pop();
  const sides = cells(line).map((mark) => (!mark.endsWith(":") ? "" : mark.startsWith(":") ? "middle" : "end"));
  const table = { kind: "table", sides, lines: [head] };
  blocks.push(table);
  return table;
}

/** What stands between the bars of a line; `\|` is a bar of the text. */
const cells = (line) => ROW.exec(line)[1].split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));

/** An item goes into the list that is open, if that is one of its kind. */
function listed(open, [, indent, mark, text], begin) {
  const ordered = /\d/.test(mark);
  const same = open?.kind === "list" && (indent.length > 0 || open.ordered === ordered);
  const list = same ? open : begin({ kind: "list", ordered, start: parseInt(mark, 10) || 1, lines: [] });
  list.lines.push({ depth: Math.min(indent.length, 2 * DEEPEST), ordered, text });
  return list;
}

function items(lines) {
  const found = [];
  for (let at = 0; at < lines.length; at++) {
    const { depth, text } = lines[at];
    let end = at + 1;
    while (end < lines.length && lines[end].depth > depth + 1) end++;
    const below = lines.slice(at + 1, end);
    const nested = below.length ? [make(below[0].ordered ? "ol" : "ul", "", items(below))] : [];
    found.push(make("li", "", [...inline(text), ...nested]));
    at = end - 1;
  }
  return found;
}

// bounded, so that an opening mark that is never closed does not make every other one look to the end of the text
const CODE = /(`+)([^`]|[^`][^]{0,800}?[^`])\1(?!`)/;
const STRONG = /\*\*(?=\S)([^]{0,800}?\S)\*\*/;
const SOFT = /(?<!\w)\*(?=[^\s*])([^*]{0,800}?[^\s*])\*(?!\w)/;
const INLINE = new RegExp([CODE, STRONG, SOFT].map(({ source }) => source).join("|"));

/** Code, strong and emphasised words; the rest is text. */
export function inline(text, depth = 1) {
  if (depth > DEEPEST) return [text];
  const parts = [];
  let rest = text;
  for (let found = INLINE.exec(rest); found; found = INLINE.exec(rest)) {
    if (found.index) parts.push(rest.slice(0, found.index));
    if (found[1]) parts.push(make("code", "", found[2]));
    else if (found[3] !== undefined) parts.push(make("strong", "", inline(found[3], depth + 1)));
    else parts.push(make("em", "", inline(found[4], depth + 1)));
    rest = rest.slice(found.index + found[0].length);
  }
  return [...parts, rest];
}
