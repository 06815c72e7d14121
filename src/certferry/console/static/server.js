// Requests to the console, with a progress bar for slow ones and an error for ended logins.

import { $, $$, csrf } from "./dom.js";

// Requests that take longer than a second show a progress bar: in the topmost dialog, else under the page header.
let waiting = 0;
export async function withProgress(work) {
  const indicator = $$("dialog[open] progress").at(-1) ?? $("#busy");
  const slow = setTimeout(() => { if (indicator) indicator.hidden = false; }, 1000);
  waiting += 1;
  try { return await work; } finally {
    clearTimeout(slow);
    waiting -= 1;
    if (!waiting) for (const shown of $$("progress")) shown.hidden = true;
  }
}

export async function request(url, options = {}) {
  const headers = { "X-Fragment": "1", "X-CSRF-Token": csrf(), ...options.headers };
  const response = await withProgress(fetch(url, { ...options, headers, redirect: "follow" }));
  if (response.status !== 401) return response;
  const { login } = await response.json();
  throw Object.assign(new Error("Your login has ended."), { login });
}

export async function fetchPage(url, options) {
  const response = await request(url, options);
  return new DOMParser().parseFromString(await response.text(), "text/html");
}
