// Asks the server for its figures once a second while the page can be seen, and draws what they were over time.

import { Refusal, getJson, getText } from "./api.js";
import { duration, figure, find, make } from "./dom.js";
import { Plot } from "./plot.js";
import { parse, perSecond, ratio } from "./prometheus.js";
import { draw } from "./timeline.js";

const EVERY_MS = 1000;
const KEPT = 120;
const RECENT = 60;
const SMOOTH = 3;
const GENERATED = "vllm:generation_tokens_total", PREFILLED = "rtriton_engine_prefill_tokens_total";

// what each plot shows of a reading, and of one before it
const PLOTS = [
  {
    title: "Tokens", unit: "per second", names: ["generated", "prompt"],
    of: (now, before) => [GENERATED, PREFILLED].map((name) => perSecond(name, before, now)),
  },
  {
    title: "Batch", unit: "generations running", names: ["running"], whole: true,
    of: ({ values }) => [values["vllm:num_requests_running"] ?? 0],
  },
  {
    title: "Queue", unit: "generations waiting", names: ["waiting"], whole: true,
    of: ({ values }) => [values["vllm:num_requests_waiting"] ?? 0],
  },
  {
    title: "KV cache", unit: "% in use", names: ["in use"], top: 100,
    of: ({ values }) => [100 * (values["vllm:kv_cache_usage_perc"] ?? 0)],
  },
];

function problem(error) {
  if (!(error instanceof Refusal)) return "no connection";
  if (error.status === 503) return `not ready: ${error.message}`;
  return error.status === 401 ? "needs an API key" : error.message;
}

export class Live {
  /** `tell(problem, info)`: what keeps the figures from coming; "" for nothing. */
  constructor(tell) {
    this.tell = tell;
    this.samples = [];
    this.elsewhere = false;
    this.shown = false;
    this.plots = PLOTS.map((it) => new Plot(it));
    find("#plots").append(...this.plots.map((plot) => plot.element));
    find("#span").addEventListener("change", () => this.look());
    addEventListener("visibilitychange", () => { if (!document.hidden) this.look(); });
  }

  begin(info) {
    this.info = info;
    if (info.metrics_port !== null) this.moved(info.metrics_port);
    clearInterval(this.timer);
    this.timer = setInterval(() => this.look(), EVERY_MS);
    this.look();
  }

  show(shown) {
    this.shown = shown;
    if (shown && this.info) this.look();
    if (shown) this.redraw();
  }

  /** With --metrics-port the figures are not for everyone who may ask. */
  moved(port) {
    this.elsewhere = true;
    find("#elsewhere").textContent =
      `This server's metrics are at its port ${port} alone (--metrics-port); here are its requests.`;
    for (const id of ["elsewhere", "plots", "figures"]) find(`#${id}`).hidden = id !== "elsewhere";
  }

  async look() {
    if (document.hidden || this.looking || !this.info) return;
    this.looking = true;
    try {
      await Promise.all([this.figures(), this.requests(), getJson("/ready")]);
      this.tell("", this.info);
    } catch (error) {
      this.tell(problem(error), this.info);
    } finally {
      this.looking = false;
    }
  }

  async figures() {
    if (this.elsewhere) return;
    const values = parse(await getText("/metrics"));
    const before = this.samples.at(-SMOOTH) ?? this.samples[0];
    const sample = { time: performance.now() / 1000, values };
    sample.drawn = PLOTS.map(({ of }) => of(sample, before));
    this.samples.push(sample);
    this.samples.splice(0, this.samples.length - KEPT);
    this.redraw();
  }

  redraw() {
    if (!this.shown || !this.samples.length) return;
    this.plots.forEach((plot, at) => plot.draw(this.samples.map(({ time, drawn }) => ({ time, values: drawn[at] })), KEPT));
    find("#figures").replaceChildren(...this.words().map(([name, value, note]) =>
      make("div", "", [make("dt", "", name), make("dd", "", [value, note ? make("small", "", ` ${note}`) : ""])])));
  }

  words() {
    const now = this.samples.at(-1);
    const then = this.samples.find(({ time }) => time >= now.time - RECENT);
    const minute = "last minute";
    const mean = (name) => duration(ratio(`${name}_sum`, `${name}_count`, then, now));
    const value = (name) => now.values[name] ?? 0;
    const hits = ratio("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total", {}, now);
    return [
      ["First token", mean("vllm:time_to_first_token_seconds"), minute],
      ["Between tokens", mean("vllm:inter_token_latency_seconds"), minute],
      ["Whole request", mean("vllm:e2e_request_latency_seconds"), minute],
      ["Requests", figure(value("rtriton_requests_total")), "since start"],
      ["Prefix cache", hits === null ? "–" : `${figure(100 * hits)}%`, "of prompts"],
      ["KV blocks", figure(value("rtriton_kv_blocks_used")), `of ${figure(value("rtriton_kv_blocks"))}`],
    ];
  }

  async requests() {
    if (!this.shown) return;
    draw(find("#timeline"), await getJson("/requests"), Number(find("#span").value));
  }
}
