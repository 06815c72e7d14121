// Forms: submit, errors beside fields, checks while the user types, rows, uploads, dependent fields.

import { $, $$, debounce, toast } from "./dom.js";
import { search } from "./live.js";
import { fetchPage, request } from "./server.js";

export function showErrors(form, errors) {
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

// While the checks say "Cannot be saved", the OK button is disabled and the reason stands above it.
function block(form, sentence) {
  const place = $("[data-blocked]", form), button = $("[data-ok]", form);
  if (!place || !button) return;
  place.textContent = sentence;
  place.hidden = !sentence;
  button.ariaDisabled = sentence ? "true" : null;
}

export async function submit(form, submitter) {
  const button = submitter ?? $("button:not([type=button])", form);
  if (button.ariaDisabled === "true") return;
  button.ariaDisabled = "true";
  try {
    const url = submitter?.getAttribute("formaction") ?? form.action;
    const response = await request(url, { method: "POST", body: new FormData(form, submitter) });
    const answer = await response.json();
    if (answer.errors) return showErrors(form, answer.errors);
    if (answer.created) return selectCreated(form, answer.created);
    const here = new URL(answer.go, location.href);
    if (here.href === location.href) location.reload(); else location.assign(here);
  } catch (error) {
    showErrors(form, { "": error.login ? "Your login has ended. Log in again in another tab, then click the button again." : "The console does not answer. Nothing was changed. Please try again." });
    if (error.login) offerLogin(form, error.login);
  } finally {
    button.ariaDisabled = null;
  }
}

export function offerLogin(form, login) {
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

export function selectCreated(form, { id, label, into, sni }) {
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
  toast(`${label.split(" — ")[0]} was created.`);
}

export const refreshChecks = debounce(async (form) => {
  const place = $("[data-checks]", form);
  if (!place) return;
  try {
    const page = await fetchPage(form.dataset.check, { method: "POST", body: new FormData(form) });
    const fresh = $("[data-checks]", page);
    if (fresh) place.replaceChildren(...fresh.childNodes);
    block(form, $("[data-blocks]", place)?.textContent ?? "");
  } catch { block(form, ""); /* the next key stroke asks again */ }
}, 250);

export async function upload(input) {
  const file = input.files[0], target = $(`#${CSS.escape(input.dataset.into)}`, input.form);
  if (!file || !target) return;
  if (file.size > 524288) return showErrors(input.form, { [target.name]: "The file is too large." });
  target.value = await file.text();
  input.value = "";
  target.dispatchEvent(new Event("input", { bubbles: true }));
}

// Parts of a form that depend on a field: data-when="field=value".
export function showDependentFields(form) {
  for (const piece of $$("[data-when]", form)) {
    const [name, value] = piece.dataset.when.split("=");
    const field = form.elements[name];
    const given = !field || (field.type === "checkbox" && !field.checked) ? "" : field.value;
    const on = value.split("|").includes(given);
    piece.hidden = !on;
    if (piece instanceof HTMLFieldSetElement) piece.disabled = !on;
  }
}

export function prepare(root) {
  for (const form of $$("form[data-form]", root)) showDependentFields(form);
  for (const form of $$("form[data-check]", root)) if ($$("textarea", form).some((t) => t.value)) refreshChecks(form);
}

// Another namespace has other Secrets and Services; entered text stays.
async function reloadChoices(chooser) {
  const form = chooser.form, page = await fetchPage(`${chooser.dataset.lists}?namespace=${encodeURIComponent(chooser.value)}`);
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
  refreshChecks(form);
}

async function showChanges(button) {
  const place = $("[data-preview]", button.form);
  button.ariaExpanded = "true";
  try {
    const page = await fetchPage(button.dataset.diff, { method: "POST", body: new FormData(button.form) });
    const fresh = $("[data-preview]", page);
    if (fresh) { place.replaceChildren(...fresh.childNodes); place.hidden = false; place.scrollIntoView({ block: "nearest" }); }
  } catch (error) { toast(error.message); }
}

// An error no longer applies when its field changes.
function clearError(field) {
  if (!field.form?.matches("[data-form]") || !field.name) return;
  const place = $(`[data-error="${CSS.escape(field.name)}"]`, field.form);
  if (place) { place.hidden = true; place.textContent = ""; }
  field.removeAttribute("aria-invalid");
}

addEventListener("click", (event) => {
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
  if (diff) return void showChanges(diff);
});

addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-form]")) return;
  event.preventDefault();
  submit(event.target, event.submitter);
});

addEventListener("input", (event) => {
  const form = event.target.form;
  clearError(event.target);
  if (form?.matches("[data-check]")) block(form, "");
  if (form?.matches("[data-check]") && event.target.matches("textarea, [data-checked]")) refreshChecks(form);
  if (event.target.matches("form[data-auto] input[type=search]")) search(event.target);
});

addEventListener("change", (event) => {
  const { target } = event;
  clearError(target);
  if (target.matches("input[type=file][data-into]")) upload(target);
  if (target.matches("select[data-lists]")) reloadChoices(target).catch((error) => toast(error.message));
  if (target.form?.matches("[data-form]")) showDependentFields(target.form);
  if (target.form?.matches("[data-check]") && target.matches("select, input")) refreshChecks(target.form);
  if (target.matches("form[data-auto] select")) target.form.submit();
});
