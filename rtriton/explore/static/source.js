// The source as the first pane shows it: the files of the kernel, findings below their lines.

import { make } from "./dom.js";

/** The lines of the source pane. */
export function sourceLines(page, notes, onLayout) {
  const lines = [];
  page.files.forEach((file, number) => {
    if (number) lines.push({ text: "", keys: [] }, { text: `# ${file.path}`, keys: [] });
    file.lines.forEach((text, index) => {
      const key = `${number}:${index + 1}`;
      const said = page.report.lines[key];
      const below = notes && said && said.findings.length ? findings(said, onLayout) : null;
      lines.push({ text, keys: [key], number: index + 1, below });
    });
  });
  return lines;
}

function findings(said) {
  return make("div", "findings", said.findings.map((finding) => make("div", "finding", [
    make("div", `says ${quality(finding)}`, [
      finding.layout ? make("span", "layout", `#${finding.layout}`, { title: "Show the layout" }) : "",
      make("span", "", finding.text),
    ]),
    ...finding.hints.map((hint) => make("div", "hint", hint)),
  ])));
}

/** How an access looks at a glance. */
function quality(finding) {
  if (finding.hints.length) return "poor";
  return finding.width >= 16 || finding.conflicts === 1 ? "good" : "";
}
