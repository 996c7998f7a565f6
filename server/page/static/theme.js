// Light or dark: as the system says, until the button says otherwise.

import { find } from "./dom.js";

const root = document.documentElement;
try {
  const kept = localStorage.getItem("rtriton-theme");
  if (kept) root.dataset.theme = kept;
} catch { /* a browser that keeps nothing for pages */ }

find("#theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("rtriton-theme", root.dataset.theme);
  } catch { /* as above */ }
});
