// Puts the page together: which view is shown, what the server says of itself, and that to everything that needs it.

import { Refusal, getJson } from "./api.js";
import { Chat } from "./chat.js";
import { figure, find, make, size } from "./dom.js";
import { Live } from "./live.js";
import { Settings } from "./settings.js";

const VIEWS = ["chat", "metrics"];
const RETRY_MS = 3000;

function show() {
  const view = VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "chat";
  for (const name of VIEWS) {
    find(`#${name}`).hidden = name !== view;
    if (name === view) find(`#to-${name}`).setAttribute("aria-current", "page");
    else find(`#to-${name}`).removeAttribute("aria-current");
  }
  document.body.dataset.view = view;
  find("#open-settings").hidden = view !== "chat";
  live.show(view === "metrics");
}

/** What the dot at the top says. */
function state(kind, text) {
  const place = find("#state");
  if (place.dataset.state !== kind || place.textContent !== text) {
    place.dataset.state = kind;
    place.textContent = text;
    place.title = text;
  }
}

async function begin() {
  try {
    const info = await getJson("/page/info");
    introduce(info);
    settings.begin(info);
    chat.begin(info);
    live.begin(info);
    document.body.dataset.loaded = "true";
  } catch (error) {
    const refused = error instanceof Refusal && error.status === 401;
    state("lost", refused ? "needs an API key" : "no connection");
    if (refused) settings.wantKey();
    else setTimeout(begin, RETRY_MS);
  }
}

function introduce(info) {
  state("ready", `${info.model} on ${info.device}`);
  document.title = `${info.model} · rtriton`;
  const rows = [["name", info.model], ["device", info.device], ["context", `${figure(info.context)} tokens`],
    ...Object.entries(info.details).map(detail), ["rtriton", info.version]];
  find("#card").replaceChildren(...rows.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", String(value))]));
}

/** The engine's own words: "weight_bytes" and "96576768" are "weight size" and "92.1 MiB". */
function detail([name, value]) {
  const words = name.replaceAll("_", " ");
  return words.endsWith(" bytes") ? [words.replace(/bytes$/, "size"), size(Number(value))] : [words, value];
}

const settings = new Settings(begin);
const chat = new Chat(settings);
const live = new Live((problem, info) => (problem ? state("lost", problem) : state("ready", `${info.model} on ${info.device}`)));

addEventListener("hashchange", show);
show();
begin();
