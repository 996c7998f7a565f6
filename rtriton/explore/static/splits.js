// Panes side by side whose widths are dragged, or moved with the arrow keys.

import { make } from "./dom.js";

const LEAST = 120;

/** Put a handle between neighbours; `remember(name, widths)` keeps what was chosen. */
export function splits(row) {
  const panes = [...row.querySelectorAll(".pane")];
  const shown = () => panes.filter((pane) => !pane.hidden);
  const weights = new Map(panes.map((pane) => [pane, Number(pane.dataset.weight ?? 1)]));
  const handles = panes.slice(1).map((pane) => {
    const handle = make("div", "split", [], { tabIndex: 0, role: "separator", ariaOrientation: "vertical", ariaLabel: "Width" });
    pane.before(handle);
    return [handle, pane];
  });

  function apply() {
    for (const pane of panes) pane.style.flexGrow = weights.get(pane);
    const first = shown()[0];
    for (const [handle, pane] of handles) handle.hidden = pane.hidden || pane === first;
  }

  /** Give the pane right of a handle so many pixels less, its left neighbour as many more. */
  function move(pane, pixels) {
    const all = shown();
    const left = all[all.indexOf(pane) - 1];
    if (!left) return;
    const wide = left.offsetWidth + pane.offsetWidth;
    const both = weights.get(left) + weights.get(pane);
    const width = Math.max(LEAST, Math.min(wide - LEAST, left.offsetWidth + pixels));
    weights.set(left, (both * width) / wide);
    weights.set(pane, both - weights.get(left));
    apply();
  }

  for (const [handle, pane] of handles) {
    handle.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      handle.setPointerCapture(event.pointerId);
      let from = event.clientX;
      const drag = (moved) => { move(pane, moved.clientX - from); from = moved.clientX; };
      handle.addEventListener("pointermove", drag);
      handle.addEventListener("pointerup", () => handle.removeEventListener("pointermove", drag), { once: true });
    });
    handle.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -24, ArrowRight: 24 }[event.key];
      if (by) { event.preventDefault(); event.stopPropagation(); move(pane, by); }
    });
  }
  apply();
  return { apply, toggle(pane) { if (shown().length > 1 || pane.hidden) pane.hidden = !pane.hidden; apply(); } };
}
