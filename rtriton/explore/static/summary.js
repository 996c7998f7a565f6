// What the whole kernel costs, in a row.

import { make, size } from "./dom.js";

/** Elements for the summary of a report. */
export function summary(report) {
  const { resources, traffic } = report;
  const chips = [];
  const chip = (name, value, bad = false, title = "") =>
    chips.push(make("span", `chip${bad ? " bad" : ""}`, [make("b", "", value), ` ${name}`], { title }));
  if (resources.registers !== null) {
    chip("registers", resources.registers, false, report.assembler);
    chip("spilled", size(resources.spills), resources.spills > 0);
    chip("instructions", resources.instructions ?? "?");
    chip(resources.programs === 1 ? "program an SM" : "programs an SM", resources.programs, false, `limited by ${resources.limit}`);
  }
  chip("threads", resources.threads);
  chip("shared", size(resources.shared));
  chip(resources.barriers === 1 ? "barrier" : "barriers", resources.barriers);
  const turns = Object.entries(traffic.per_turn);
  if (traffic.read || !turns.length) chip("read a program", size(traffic.read));
  if (traffic.written || !turns.length) chip("written a program", size(traffic.written));
  for (const [line, bytes] of turns) chip(`a turn of line ${line}`, size(bytes));
  for (const loop of report.loops) {
    const said = loop.stages ? `copies ahead, ${loop.stages} ${loop.stages === 1 ? "buffer" : "buffers"}` : "not pipelined";
    chips.push(make("span", `chip${loop.stages ? " good" : ""}`, [make("b", "", `loop ${loop.line}`), ` ${said}`],
      { title: loop.reason || "pipelined" }));
  }
  const hints = [...report.hints, ...report.problems].map((hint) => make("div", "hint", hint));
  return [make("div", "chips", chips), ...hints];
}
