// The theme switch; the choice is kept in a cookie.

import { $ } from "./dom.js";

const themes = ["auto", "light", "dark"];
function theme(choice) {
  const root = document.documentElement;
  if (choice === "auto") delete root.dataset.theme; else root.dataset.theme = choice;
  $('meta[name="color-scheme"]').content = choice === "auto" ? "light dark" : choice;
  document.cookie = `theme=${choice === "auto" ? "" : choice}; path=/; max-age=31536000; samesite=lax`;
  $("#theme span").textContent = choice;
}
$("#theme").addEventListener("click", () => theme(themes[(themes.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % 3]));
$("#theme span").textContent = document.documentElement.dataset.theme ?? "auto";
