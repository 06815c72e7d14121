// Live pages: elements are changed in place, so that focus and open menus stay.

import { $, debounce } from "./dom.js";
import { fetchPage } from "./server.js";

export function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || (old.id ?? "") !== (fresh.id ?? "")) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) { old.nodeValue = fresh.nodeValue; return; }
  if (old === document.activeElement && old.matches("input, select, textarea")) return;
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "style") old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  // removed nodes go first, because a moved node loses the focus
  const remaining = new Set([...fresh.children].map((c) => c.id));
  for (const child of [...old.children]) if (child.id && !remaining.has(child.id)) child.remove();
  const byId = new Map([...old.children].filter((c) => c.id).map((c) => [c.id, c]));
  let next = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const same = child.id && byId.get(child.id);
    if (same) {
      if (same !== next) old.insertBefore(same, next); else next = next.nextSibling;
      morph(same, child);
    } else if (next && !(next.id && byId.has(next.id)) && next.nodeName === child.nodeName) {
      const after = next.nextSibling;
      morph(next, child);
      next = after;
    } else old.insertBefore(child, next);
  }
  while (next) { const after = next.nextSibling; next.remove(); next = after; }
}

// The title and the header show the worst state of the cluster's hosts.
function showHealth() {
  const { title, health, healthWord } = $("main").dataset, link = $("#health");
  if (title) document.title = title;
  if (link && health) { link.className = `health-link ${health}`; link.textContent = healthWord; }
}

let refreshing = false, again = false;
export async function refresh() {
  if (refreshing) { again = true; return; }
  refreshing = true;
  try {
    const fresh = $("main", await fetchPage(location.href));
    if (fresh) { morph($("main"), fresh); showHealth(); }
  } catch (error) {
    if (error.login) location.assign(error.login);
  } finally {
    refreshing = false;
    if (again) { again = false; setTimeout(refresh, 100); }
  }
}

export function followEvents(url) {
  const indicator = $("#live");
  const show = (word, state) => { if (indicator && indicator.textContent !== word) { indicator.textContent = word; indicator.className = `live ${state}`; } };
  const source = new EventSource(url);
  source.addEventListener("changed", refresh);
  // changes between the page and the stream sent no event
  source.onopen = () => { show("Live", "on"); refresh(); };
  source.onerror = () => { show("Not connected", "off"); if (source.readyState === 2) setTimeout(() => followEvents(url), 3000); };
  addEventListener("pagehide", () => source.close());
}

export const search = debounce(async (input) => {
  const url = new URL(`?${new URLSearchParams(new FormData(input.form))}`, location.href);
  history.replaceState(null, "", url);
  await refresh();
}, 200);
