// Menus of rows: position and keyboard.

import { $, $$ } from "./dom.js";

addEventListener("toggle", (event) => {
  const menu = event.target;
  if (!menu.matches?.("[popover].menu") || event.newState !== "open") return;
  const button = $(`[popovertarget="${menu.id}"]`), at = button.getBoundingClientRect(), size = menu.getBoundingClientRect();
  menu.style.left = `${Math.max(8, Math.min(at.left, innerWidth - size.width - 8))}px`;
  menu.style.top = `${at.bottom + size.height + 8 > innerHeight ? at.top - size.height - 4 : at.bottom + 4}px`;
  $("[role=menuitem]", menu)?.focus();
}, true);

addEventListener("scroll", () => $$(".menu:popover-open").forEach((m) => m.hidePopover()), true);

addEventListener("keydown", (event) => {
  const menu = event.target.closest?.("[role=menu]");
  if (!menu) return;
  const items = $$("[role=menuitem]", menu), at = items.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
  if (to !== undefined) { event.preventDefault(); items[(to + items.length) % items.length].focus(); }
  if (event.key === "Tab") { event.preventDefault(); menu.hidePopover(); }
  if (event.key === " ") { event.preventDefault(); document.activeElement.click(); }
});
