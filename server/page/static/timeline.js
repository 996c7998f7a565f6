// Recent requests, one a row: when each waited, read its prompt and wrote its answer, on one axis that ends now.

import { draw as shape, duration, figure, make } from "./dom.js";

const MOST = 40;
const WIDTH = 1000, HEIGHT = 18;
const FINE = /^(ok|(stop|length|tool_calls)(\+(stop|length|tool_calls))*|client_left)$/;
const HEADS = ["Request", "Prompt", "Output", "First token", "Took", ""];

/** `log` is what `GET /requests` says; requests of its last `seconds` are shown, the newest first. */
export function draw(place, log, seconds) {
  const from = log.now - seconds;
  const shown = log.requests.filter((each) => (each.ended ?? log.now) >= from);
  shown.sort((a, b) => b.received - a.received);
  const rows = shown.slice(0, MOST).map((each) => row(each, from, log.now));
  const head = make("tr", "", HEADS.map((text, at) =>
    make("th", at && at < 5 ? "number" : "", at === 5 ? axis(seconds) : text, { scope: "col" })));
  const none = make("p", "none", `No request in the last ${duration(seconds)}.`);
  const table = make("table", "", [make("thead", "", head), make("tbody", "", rows)]);
  place.replaceChildren(rows.length ? table : none);
}

function row(each, from, now) {
  const end = each.ended ?? now;
  const first = each.first_token === null ? null : each.first_token - each.received;
  const bad = each.outcome !== null && !FINE.test(each.outcome);
  const name = bad || each.outcome === "client_left" ? `${title(each)}: ${said(each)}` : title(each);
  const tokens = [each.prompt_tokens, each.output_tokens].map(figure);
  const cells = [...tokens, duration(first), duration(end - each.received)];
  return make("tr", "", [make("td", bad ? "bad" : "", name, { title: each.id }),
    ...cells.map((text) => make("td", "number", text)), make("td", "bars", bars(each, from, now))]);
}

const title = ({ route }) => route.replace(/^\/(v1\/)?/, "");
const said = ({ outcome, code }) => (code ?? outcome).replaceAll("_", " ");

/** The parts of a request's time; a part that was not reached is missing. When it was begun is known with its first token:
    until then all of it was waiting. */
export function parts({ received, scheduled, first_token: first, ended }, now) {
  const end = ended ?? now;
  const steps = [["queued", received, scheduled ?? first ?? end], ["prefill", scheduled, first ?? end], ["decode", first, end]];
  return steps.filter(([, from]) => from !== null).map(([kind, from, to]) => ({ kind, from, to: Math.max(from, to) }));
}

function bars(each, from, now) {
  const found = parts(each, now);
  const x = (time) => WIDTH * Math.max(0, (time - from) / (now - from));
  const words = found.map(({ kind, from: start, to }) => `${kind} ${duration(to - start)}`).join(", ");
  const rects = found.filter(({ to }) => to >= from).map(({ kind, from: start, to }) => {
    const width = Math.max(1.5, x(to) - x(start));
    return shape("rect", { class: `bar-${kind}`, x: x(start), y: 3, width, height: HEIGHT - 6, rx: 2 });
  });
  const box = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": words };
  return shape("svg", box, [shape("title", {}, words), ...rects]);
}

function axis(seconds) {
  const text = (words, x, anchor) => shape("text", { class: "axis", x, y: 11, "text-anchor": anchor }, words);
  return shape("svg", { "aria-hidden": "true" }, [
    text(`${duration(seconds)} ago`, "0%", "start"),
    text(`${duration(seconds / 2)} ago`, "50%", "middle"),
    text("now", "100%", "end"),
  ]);
}
