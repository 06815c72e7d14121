// Entry point. Pages work without scripts; these modules keep the user on the page.

import { $, $$, toast } from "./dom.js";
import "./dialogs.js";
import { prepare } from "./forms.js";
import { followEvents, search } from "./live.js";
import "./menus.js";
import "./theme.js";
import "./times.js";

addEventListener("click", (event) => {
  const copy = event.target.closest("[data-copy], [data-text]");
  if (copy) navigator.clipboard.writeText(copy.dataset.text ?? $(copy.dataset.copy).textContent).then(() => toast("Copied."), () => toast("The browser did not allow it."));
});

// "/" goes to the search
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
  const field = $$(".search-all input, .search input").find((input) => input.offsetWidth);
  if (field) { event.preventDefault(); field.focus(); field.select(); }
});

// text typed before the script was loaded
for (const input of $$("form[data-auto] input[type=search]"))
  if (input.value !== (new URLSearchParams(location.search).get("q") ?? "")) search(input);
if (document.body.dataset.live) followEvents(document.body.dataset.live);
prepare(document);
setTimeout(() => $$(".toast").forEach((t) => t.remove()), 8000);
