// Helpers for the document: selectors, the form token, debouncing, toasts.

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
export const csrf = () => $('meta[name="csrf"]')?.content ?? "";
export const debounce = (work, pause) => {
  let timer;
  return (...given) => { clearTimeout(timer); timer = setTimeout(() => work(...given), pause); };
};

export function toast(text, kind = "") {
  const line = document.createElement("p");
  line.className = `toast ${kind}`;
  line.textContent = text;
  $("#toasts")?.append(line);
  setTimeout(() => line.remove(), 6000);
}
