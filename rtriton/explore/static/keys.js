// The keyboard: one key, one thing, none while something is typed.

const TYPED = ["INPUT", "SELECT", "TEXTAREA"];

export function keyboard(act) {
  const keys = {
    ArrowDown: () => act.walk(1), j: () => act.walk(1), ArrowUp: () => act.walk(-1), k: () => act.walk(-1),
    Escape: act.release, "[": () => act.pass(-1), "]": () => act.pass(1), d: act.diff, e: act.notes, l: act.layouts,
    1: () => act.pane(0), 2: () => act.pane(1), 3: () => act.pane(2), 4: () => act.pane(3), t: act.theme, "/": act.sig,
    "?": act.help,
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (TYPED.includes(event.target.tagName)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const found = keys[event.key];
    if (!found) return;
    event.preventDefault();
    found();
  });
}
