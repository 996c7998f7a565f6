// The page: asks for a kernel's data, shows it in four panes, links their lines, and asks again when a file changes.

import { Code } from "./code.js";
import { find, make } from "./dom.js";
import { keyboard } from "./keys.js";
import { Layouts } from "./layouts.js";
import { sourceLines } from "./source.js";
import { splits } from "./splits.js";
import { Stages } from "./stages.js";
import { summary } from "./summary.js";

const KEPT = "rtriton-explore-theme";
const place = new URLSearchParams(location.search);
const asked = Object.fromEntries(["kernel", "sig", "target"].map((name) => [name, place.get(name)]));
const signatures = new Map(); // what each kernel was last compiled with
let page = null;
let held = null;
let counter = 0;

const layouts = new Layouts(find("#drawer"));
const on = { hover, hold, layout: (name) => layouts.open(name) };
const panes = Object.fromEntries(["source", "ir", "ptx", "sass"].map((name) => [name, find(`#pane-${name}`)]));
const code = Object.fromEntries(Object.entries(panes).map(([name, pane]) => [name, new Code(find(".code", pane), on)]));
const stages = new Stages(panes.ir, code.ir, () => relight());
const columns = splits(find("#panes"));

// -- links ----------------------------------------------------------------------------------------------------------

let ticking = 0;

function light(keys, isHeld) {
  const all = Object.values(code);
  for (const pane of all) pane.light(keys, isHeld);
  cancelAnimationFrame(ticking);
  ticking = requestAnimationFrame(() => {
    const heights = all.map((pane) => pane.heights());
    all.forEach((pane, i) => pane.tick(heights[i]));
  });
}

function relight() { light(held, held !== null); }

/** Light the lines that belong to these places; without any, those that are held. */
function hover(keys) {
  if (keys && keys.length) light(keys, false); else relight();
}

/** Keep lines lit and bring them into view in the other panes; the same again lets go. */
function hold(keys, from) {
  const same = held && keys && held.join() === keys.join();
  held = !keys || !keys.length || same ? null : keys;
  relight();
  if (held) for (const pane of Object.values(code)) if (pane !== from) pane.follow();
}

/** Hold the next line of the kernel's file, in a direction, that became something. */
function walk(by) {
  if (!page) return;
  const lines = [...new Set(page.stages[0].lines.flatMap(([, keys]) => keys))].filter((key) => key.startsWith("0:"))
    .map((key) => Number(key.slice(2))).sort((a, b) => a - b);
  if (!lines.length) return;
  const now = held ? Number(held[0].split(":")[1]) : by > 0 ? 0 : Infinity;
  const to = by > 0 ? lines.find((line) => line > now) : lines.findLast((line) => line < now);
  if (to === undefined) return;
  held = null;
  hold([`0:${to}`], null);
}

// -- data -----------------------------------------------------------------------------------------------------------

async function load() {
  const mine = ++counter;
  say("compiling …", "busy");
  const query = new URLSearchParams(Object.entries(asked).filter(([, value]) => value !== null));
  history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}`);
  let answer;
  const begun = performance.now();
  try {
    const response = await fetch(`/api/page?${query}`);
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
    answer = await response.json();
  } catch (failure) {
    if (mine === counter) say(`no answer: ${failure.message}`, "lost");
    return;
  }
  if (mine !== counter) return;
  choices(answer);
  complain(answer.error);
  if (answer.page) {
    signatures.set(answer.chosen, withOptions(answer.page.report));
    show(answer.page);
    say(`${answer.page.report.target}, ${((performance.now() - begun) / 1000).toFixed(1)} s`, "");
  } else {
    say("not compiled", "lost");
  }
  document.body.dataset.loaded = mine;
}

function say(text, kind) {
  const status = find("#status");
  status.textContent = text;
  status.className = kind;
}

/** The lists of kernels and targets. */
function choices(answer) {
  const kernels = find("#kernel");
  const own = answer.kernels.filter(({ called }) => !called);
  const helpers = answer.kernels.filter(({ called }) => called);
  const option = ({ name, line }) => make("option", "", `${name}  :${line}`, { value: name });
  kernels.replaceChildren(...own.map(option));
  if (helpers.length) kernels.append(make("optgroup", "", helpers.map(option), { label: "called by others" }));
  if (answer.chosen) kernels.value = answer.chosen;
  const targets = find("#target");
  if (answer.targets.length) targets.replaceChildren(...answer.targets.map((name) => make("option", "", name, { value: name })));
  targets.value = answer.page ? answer.page.report.target : asked.target ?? "sm_90a";
  const sig = find("#sig");
  const chosen = answer.kernels.find(({ name }) => name === answer.chosen);
  if (document.activeElement !== sig) sig.value = answer.page ? withOptions(answer.page.report) : asked.sig ?? chosen?.signature ?? "";
  sig.placeholder = chosen ? chosen.arguments.map((name) => `${name}=…`).join(",") : "";
}

const DEFAULTS = { num_warps: 4, num_stages: 3 };

function withOptions(report) {
  const options = Object.entries(report.options).filter(([name, value]) => DEFAULTS[name] !== value);
  return [report.signature, ...options.map(([name, value]) => `${name}=${value}`)].join(",");
}

function complain(error) {
  const box = find("#error");
  box.hidden = !error;
  if (!error) return;
  const place = error.file && !error.message.startsWith(error.file) ? `${error.file}:${error.line}\n` : "";
  box.replaceChildren(make("pre", "", place + error.message));
}

function show(data) {
  page = data;
  document.title = `${data.report.kernel} · rtriton explore`;
  find("#summary").replaceChildren(...summary(data.report));
  find(".about", panes.source).textContent = data.files[0]?.name ?? "";
  const source = () => code.source.show(sourceLines(data, find("#notes").getAttribute("aria-pressed") === "true", on.layout), "python");
  find("#notes").onclick = () => {
    const notes = find("#notes");
    notes.setAttribute("aria-pressed", notes.getAttribute("aria-pressed") !== "true");
    source();
    relight();
  };
  source();
  stages.show(data.stages);
  for (const name of ["ptx", "sass"]) {
    const stage = data.stages.find((one) => one.name === name);
    const about = stage ? `${stage.lines.length} lines` : "";
    find(".about", panes[name]).textContent = about;
    const missing = data.report.problems.join("\n") || "nothing";
    code[name].show((stage?.lines ?? []).map(([text, keys], i) => ({ text, keys, number: i + 1 })), name, missing);
  }
  layouts.show(data);
  relight();
  if (!code.source.root.dataset.seen) {
    code.source.root.dataset.seen = "yes";
    const first = code.source.byKey.get(`0:${data.report.line}`)?.[0];
    if (first) code.source.root.scrollTop = Math.max(0, first.offsetTop - 24);
  }
}

function watch() {
  const events = new EventSource("/api/changes");
  events.addEventListener("changed", () => load());
  events.addEventListener("error", () => say("the server has gone; waiting for it", "lost"));
}

// -- controls -------------------------------------------------------------------------------------------------------

function theme() {
  const root = document.documentElement;
  const dark = getComputedStyle(root).colorScheme === "dark";
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem(KEPT, root.dataset.theme);
  layouts.draw();
}

const stored = localStorage.getItem(KEPT);
if (stored) document.documentElement.dataset.theme = stored;

find("#theme").addEventListener("click", theme);
find("#help").addEventListener("click", () => find("#keys").showModal());
find("#close").addEventListener("click", () => layouts.close());
find("#kernel").addEventListener("change", (event) => {
  Object.assign(asked, { kernel: event.target.value, sig: signatures.get(event.target.value) ?? "" });
  delete code.source.root.dataset.seen;
  held = null;
  load();
});
find("#target").addEventListener("change", (event) => { asked.target = event.target.value; load(); });
find("#sig").addEventListener("change", (event) => {
  Object.assign(asked, { sig: event.target.value, kernel: find("#kernel").value || null });
  load();
});
keyboard({
  walk,
  release: () => { held = null; relight(); layouts.close(); },
  pass: (by) => stages.step(by),
  diff: () => stages.switch(),
  notes: () => find("#notes").click(),
  layouts: () => layouts.toggle(),
  pane: (number) => columns.toggle(Object.values(panes)[number]),
  theme,
  sig: () => find("#sig").focus(),
  help: () => find("#keys").showModal(),
});
load();
watch();
