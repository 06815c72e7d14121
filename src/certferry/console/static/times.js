// Relative times stay right while a page is open; the title has the time in UTC.

import { $$ } from "./dom.js";

const UNITS = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];

export function ago(at, now = Date.now()) {
  const passed = Math.trunc((now - at) / 1000), length = Math.abs(passed);
  const [size, unit] = UNITS.find(([size]) => length >= size) ?? UNITS.at(-1);
  const count = Math.floor(length / size), text = `${count} ${unit}${count === 1 ? "" : "s"}`;
  return passed < 0 ? `in ${text}` : `${text} ago`;
}

setInterval(() => {
  for (const time of $$("time[datetime]")) {
    const text = ago(Date.parse(time.dateTime));
    if (time.textContent !== text) time.textContent = text;
  }
}, 10_000);
