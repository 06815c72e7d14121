// Links that open a page as a dialog.

import { $, $$, toast } from "./dom.js";
import { prepare } from "./forms.js";
import { fetchPage } from "./server.js";

// A dialog over another needs its own ids, so that a label does not name a field behind it.
let opened = 0;
export function makeIdsUnique(root) {
  const mark = `-${++opened}`, parts = [root, ...$$("template", root).map((t) => t.content)];
  const ids = new Set(parts.flatMap((part) => $$("[id]", part).map((e) => e.id)));
  for (const name of ["id", "for", "aria-describedby", "aria-labelledby", "data-into", "data-add"])
    for (const element of parts.flatMap((part) => $$(`[${name}]`, part)))
      element.setAttribute(name, element.getAttribute(name).split(" ").map((id) => (ids.has(id) ? id + mark : id)).join(" "));
}

// Typed text is lost only if the user agrees.
function leave(dialog) {
  if (!dialog.typed || confirm("Close this dialog and lose what you typed?")) dialog.close();
}

export async function openDialog(url, opener) {
  let page;
  try { page = await fetchPage(url); } catch (error) { return error.login ? location.assign(error.login) : toast(error.message); }
  const body = $("[data-dialog-body]", page);
  if (!body) return location.assign(url);
  const dialog = document.createElement("dialog");
  makeIdsUnique(body);
  const title = $("h1", body);
  title.id = `dialog-title-${Date.now()}`;
  dialog.setAttribute("aria-labelledby", title.id);
  dialog.append(document.importNode(body, true));
  dialog.opener = opener;
  document.body.append(dialog);
  if (!$(".buttons", dialog)) {
    const close = document.createElement("footer");
    close.className = "buttons";
    close.innerHTML = '<button type="button" data-close>Close</button>';
    dialog.firstElementChild.append(close);
  }
  dialog.addEventListener("input", () => { dialog.typed = true; });
  dialog.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || $(".menu:popover-open")) return;
    event.preventDefault();
    leave(dialog);
  });
  dialog.addEventListener("close", () => { dialog.remove(); (opener?.isConnected ? opener : $("main")).focus(); });
  dialog.showModal();
  prepare(dialog);
  ($("[autofocus], .body input:not([type=hidden], [type=file], [type=radio]:not(:checked), [readonly]), .body textarea, .body select", dialog) ?? $("[data-close]", dialog))?.focus();
  return dialog;
}

addEventListener("click", (event) => {
  const dialogLink = event.target.closest("a[data-dialog]");
  if (dialogLink && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    const menu = dialogLink.closest("[popover]");
    menu?.hidePopover();
    openDialog(dialogLink.href, menu ? $(`[popovertarget="${menu.id}"]`) : dialogLink);
    return;
  }
  const closer = event.target.closest("[data-close]");
  if (closer) {
    event.preventDefault();
    const dialog = closer.closest("dialog");
    if (dialog) leave(dialog); else history.back();
    return;
  }
});
