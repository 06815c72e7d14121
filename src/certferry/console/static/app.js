// The console's one script: dialogs, forms, checks while one types, menus, live pages, the theme.
// Pages work as plain pages without it; what it adds is that one stays where one is.

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const csrf = () => $('meta[name="csrf"]')?.content ?? "";
const later = (work, pause) => {
  let timer;
  return (...given) => { clearTimeout(timer); timer = setTimeout(() => work(...given), pause); };
};

// --- asking the server

// what takes longer than a second shows that it goes on: in the topmost dialog, else under the head
let waiting = 0;
async function patiently(work) {
  const sign = $$("dialog[open] progress").at(-1) ?? $("#busy");
  const slow = setTimeout(() => { if (sign) sign.hidden = false; }, 1000);
  waiting += 1;
  try { return await work; } finally {
    clearTimeout(slow);
    waiting -= 1;
    if (!waiting) for (const shown of $$("progress")) shown.hidden = true;
  }
}

async function ask(url, options = {}) {
  const headers = { "X-Fragment": "1", "X-CSRF-Token": csrf(), ...options.headers };
  const response = await patiently(fetch(url, { ...options, headers, redirect: "follow" }));
  if (response.status !== 401) return response;
  const { login } = await response.json();
  throw Object.assign(new Error("Your login has ended."), { login });
}

async function part(url, options) {
  const response = await ask(url, options);
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

function toast(text, kind = "") {
  const line = document.createElement("p");
  line.className = `toast ${kind}`;
  line.textContent = text;
  $("#toasts")?.append(line);
  setTimeout(() => line.remove(), 6000);
}

// --- live pages: a node is changed, never replaced, so focus and open menus stay

function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || (old.id ?? "") !== (fresh.id ?? "")) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) { old.nodeValue = fresh.nodeValue; return; }
  if (old === document.activeElement && old.matches("input, select, textarea")) return;
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "style") old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  // what is gone goes first: a node that has to be moved loses the focus
  const stays = new Set([...fresh.children].map((c) => c.id));
  for (const child of [...old.children]) if (child.id && !stays.has(child.id)) child.remove();
  const known = new Map([...old.children].filter((c) => c.id).map((c) => [c.id, c]));
  let next = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const same = child.id && known.get(child.id);
    if (same) {
      if (same !== next) old.insertBefore(same, next); else next = next.nextSibling;
      morph(same, child);
    } else if (next && !(next.id && known.has(next.id)) && next.nodeName === child.nodeName) {
      const after = next.nextSibling;
      morph(next, child);
      next = after;
    } else old.insertBefore(child, next);
  }
  while (next) { const after = next.nextSibling; next.remove(); next = after; }
}

let refreshing = false, again = false;
async function refresh() {
  if (refreshing) { again = true; return; }
  refreshing = true;
  try {
    const fresh = $("main", await part(location.href));
    if (fresh) morph($("main"), fresh);
  } catch (error) {
    if (error.login) location.assign(error.login);
  } finally {
    refreshing = false;
    if (again) { again = false; setTimeout(refresh, 100); }
  }
}

function follow(url) {
  const sign = $("#live");
  const say = (word, state) => { if (sign && sign.textContent !== word) { sign.textContent = word; sign.className = `live ${state}`; } };
  const source = new EventSource(url);
  source.addEventListener("changed", refresh);
  // what changed between the page and the stream was told to nobody
  source.onopen = () => { say("Live", "on"); refresh(); };
  source.onerror = () => { say("Not connected", "off"); if (source.readyState === 2) setTimeout(() => follow(url), 3000); };
  addEventListener("pagehide", () => source.close());
}

// --- dialogs

// a dialog over another has ids of its own: a label must not name the field behind
let opened = 0;
function apart(root) {
  const mark = `-${++opened}`, parts = [root, ...$$("template", root).map((t) => t.content)];
  const ids = new Set(parts.flatMap((part) => $$("[id]", part).map((e) => e.id)));
  for (const name of ["id", "for", "aria-describedby", "aria-labelledby", "data-into", "data-add"])
    for (const element of parts.flatMap((part) => $$(`[${name}]`, part)))
      element.setAttribute(name, element.getAttribute(name).split(" ").map((id) => (ids.has(id) ? id + mark : id)).join(" "));
}

async function open(url, opener) {
  let page;
  try { page = await part(url); } catch (error) { return error.login ? location.assign(error.login) : toast(error.message); }
  const body = $("[data-dialog-body]", page);
  if (!body) return location.assign(url);
  const dialog = document.createElement("dialog");
  apart(body);
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
  dialog.addEventListener("close", () => { dialog.remove(); (opener?.isConnected ? opener : $("main")).focus(); });
  dialog.showModal();
  prepare(dialog);
  ($("[autofocus], .body input:not([type=hidden], [type=file], [type=radio]:not(:checked), [readonly]), .body textarea, .body select", dialog) ?? $("[data-close]", dialog))?.focus();
  return dialog;
}

// --- forms

function told(form, errors) {
  for (const place of $$("[data-error]", form)) { place.hidden = true; place.textContent = ""; }
  for (const field of $$("[aria-invalid]", form)) field.removeAttribute("aria-invalid");
  for (const [name, sentence] of Object.entries(errors)) {
    const place = $(`[data-error="${CSS.escape(name)}"]`, form) ?? $('[data-error=""]', form);
    if (!place) { toast(sentence); continue; }
    place.textContent = place.hidden ? sentence : `${place.textContent} ${sentence}`;
    place.hidden = false;
    const field = form.elements[name];
    if (field instanceof HTMLElement) field.setAttribute("aria-invalid", "true");
  }
  $("[aria-invalid]", form)?.focus();
}

async function send(form, submitter) {
  const button = submitter ?? $("button:not([type=button])", form);
  if (button.ariaDisabled === "true") return;
  button.ariaDisabled = "true";
  try {
    const url = submitter?.getAttribute("formaction") ?? form.action;
    const response = await ask(url, { method: "POST", body: new FormData(form, submitter) });
    const answer = await response.json();
    if (answer.errors) return told(form, answer.errors);
    if (answer.created) return created(form, answer.created);
    const here = new URL(answer.go, location.href);
    if (here.href === location.href) location.reload(); else location.assign(here);
  } catch (error) {
    told(form, { "": error.login ? "Your login has ended. Log in again in another tab, then press the button once more." : "The console does not answer. Nothing was changed; please try again." });
    if (error.login) renew(form, error.login);
  } finally {
    button.ariaDisabled = null;
  }
}

function renew(form, login) {
  const place = $('[data-error=""]', form);
  const link = Object.assign(document.createElement("a"), { href: login, target: "_blank", textContent: "Log in" });
  place?.append(" ", link);
  // a new login has a new form token
  addEventListener("focus", async () => {
    const page = await (await fetch("/clusters")).text();
    const token = $('meta[name="csrf"]', new DOMParser().parseFromString(page, "text/html"))?.content;
    if (token) { $('meta[name="csrf"]').content = token; $$('input[name="csrf"]').forEach((i) => { i.value = token; }); }
  }, { once: true });
}

function created(form, { id, label, into, sni }) {
  const dialog = form.closest("dialog"), opener = dialog.opener;
  const behind = opener?.closest("form") ?? document;
  for (const select of $$(`select[data-takes="${into}"]`, behind)) {
    select.append(new Option(label, id));
    if (select.id === opener.dataset.into) { select.value = id; select.dispatchEvent(new Event("change", { bubbles: true })); }
  }
  for (const list of $$(`.choices[data-takes="${into}"]`, behind)) if (sni) {
    const line = document.createElement("label");
    line.append(Object.assign(document.createElement("input"), { type: "checkbox", name: list.dataset.name, value: id }), ` ${label}`);
    $(".none", list)?.remove();
    list.append(line);
  }
  dialog.close();
  toast(`${label.split(" — ")[0]} is created.`);
}

const check = later(async (form) => {
  const place = $("[data-checks]", form);
  if (!place) return;
  try {
    const page = await part(form.dataset.check, { method: "POST", body: new FormData(form) });
    const fresh = $("[data-checks]", page);
    if (fresh) place.replaceChildren(...fresh.childNodes);
  } catch { /* the next key stroke asks again */ }
}, 250);

async function upload(input) {
  const file = input.files[0], target = $(`#${CSS.escape(input.dataset.into)}`, input.form);
  if (!file || !target) return;
  if (file.size > 524288) return told(input.form, { [target.name]: "The file is too large." });
  target.value = await file.text();
  input.value = "";
  target.dispatchEvent(new Event("input", { bubbles: true }));
}

// Parts of a form that belong to a choice: data-when="field=value"
function arrange(form) {
  for (const piece of $$("[data-when]", form)) {
    const [name, value] = piece.dataset.when.split("=");
    const field = form.elements[name];
    const given = !field || (field.type === "checkbox" && !field.checked) ? "" : field.value;
    const on = value.split("|").includes(given);
    piece.hidden = !on;
    if (piece instanceof HTMLFieldSetElement) piece.disabled = !on;
  }
}

function prepare(root) {
  for (const form of $$("form[data-form]", root)) arrange(form);
  for (const form of $$("form[data-check]", root)) if ($$("textarea", form).some((t) => t.value)) check(form);
}

// --- events

addEventListener("click", (event) => {
  const dialogLink = event.target.closest("a[data-dialog]");
  if (dialogLink && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    const menu = dialogLink.closest("[popover]");
    menu?.hidePopover();
    open(dialogLink.href, menu ? $(`[popovertarget="${menu.id}"]`) : dialogLink);
    return;
  }
  const closer = event.target.closest("[data-close]");
  if (closer) {
    event.preventDefault();
    const dialog = closer.closest("dialog");
    if (dialog) dialog.close(); else history.back();
    return;
  }
  const adder = event.target.closest("[data-add]");
  if (adder) {
    const rows = $(`#${adder.dataset.add}`), row = $("template", rows).content.cloneNode(true);
    const number = $$(".row", rows).length + 1;
    for (const field of $$("[aria-label]", row)) field.ariaLabel = `${field.ariaLabel} ${number}`;
    rows.append(row);
    $$(".row", rows).at(-1).querySelector("input, select").focus();
    return;
  }
  const remover = event.target.closest("[data-remove]");
  if (remover) {
    const rows = remover.closest(".rows");
    remover.closest(".row").remove();
    ($("input, select", rows) ?? $(`[data-add="${rows.id}"]`)).focus();
    return;
  }
  const diff = event.target.closest("[data-diff]");
  if (diff) return void preview(diff);
  const copy = event.target.closest("[data-copy]");
  if (copy) navigator.clipboard.writeText($(copy.dataset.copy).textContent).then(() => toast("Copied."), () => toast("The browser did not allow it."));
});

// another namespace has other Secrets and Services; what was typed stays
async function relist(chooser) {
  const form = chooser.form, page = await part(`${chooser.dataset.lists}?namespace=${encodeURIComponent(chooser.value)}`);
  const rows = $$("template", form);
  $$("template", page).forEach((fresh, number) => { rows[number].innerHTML = fresh.innerHTML; });
  for (const name of ["secret", "sni_secret", "service"]) {
    const fresh = $(`select[name=${name}]`, page) ?? $$("template", page).map((t) => $(`select[name=${name}]`, t.content)).find(Boolean);
    for (const list of $$(`select[name=${name}]`, form)) {
      const before = list.value;
      list.replaceChildren(...[...fresh.options].map((o) => new Option(o.text, o.value)));
      list.value = [...list.options].some((o) => o.value === before) ? before : "";
    }
  }
  const links = $$("a[data-into]", form);
  $$("a[data-into]", page).forEach((link, number) => { links[number].href = link.href; });
  check(form);
}

async function preview(button) {
  const place = $("[data-preview]", button.form);
  button.ariaExpanded = "true";
  try {
    const page = await part(button.dataset.diff, { method: "POST", body: new FormData(button.form) });
    const fresh = $("[data-preview]", page);
    if (fresh) { place.replaceChildren(...fresh.childNodes); place.hidden = false; place.scrollIntoView({ block: "nearest" }); }
  } catch (error) { toast(error.message); }
}

addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-form]")) return;
  event.preventDefault();
  send(event.target, event.submitter);
});

// what was said of a field is said of what stood there before
function forget(field) {
  if (!field.form?.matches("[data-form]") || !field.name) return;
  const place = $(`[data-error="${CSS.escape(field.name)}"]`, field.form);
  if (place) { place.hidden = true; place.textContent = ""; }
  field.removeAttribute("aria-invalid");
}

addEventListener("input", (event) => {
  const form = event.target.form;
  forget(event.target);
  if (form?.matches("[data-check]") && event.target.matches("textarea, [data-checked]")) check(form);
  if (event.target.matches("form[data-auto] input[type=search]")) search(event.target);
});

const search = later(async (input) => {
  const url = new URL(`?${new URLSearchParams(new FormData(input.form))}`, location.href);
  history.replaceState(null, "", url);
  await refresh();
}, 200);

addEventListener("change", (event) => {
  const { target } = event;
  forget(target);
  if (target.matches("input[type=file][data-into]")) upload(target);
  if (target.matches("select[data-lists]")) relist(target).catch((error) => toast(error.message));
  if (target.form?.matches("[data-form]")) arrange(target.form);
  if (target.form?.matches("[data-check]") && target.matches("select, input")) check(target.form);
  if (target.matches("form[data-auto] select")) target.form.submit();
});

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

// typed before the script was there
for (const input of $$("form[data-auto] input[type=search]"))
  if (input.value !== (new URLSearchParams(location.search).get("q") ?? "")) search(input);
if (document.body.dataset.live) follow(document.body.dataset.live);
prepare(document);
setTimeout(() => $$(".toast").forEach((t) => t.remove()), 8000);
