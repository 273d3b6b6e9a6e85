// Counts as a table with a bar in each row: small, and read aloud as what it is.
import { h } from "./dom.js";
import { count } from "./format.js";

/** `rows`: `[words, value, colour, note]`; the whole width is `most`, or else the largest value. */
export function bars(caption, rows, most = Math.max(1, ...rows.map(([, value]) => value))) {
  return h("table", { class: "bars" }, h("caption", { class: "unseen" }, caption),
    h("tbody", {}, rows.map(([words, value, colour, note]) =>
      h("tr", {}, h("th", { scope: "row" }, words),
        h("td", { class: "bar-cell" }, h("span", { class: "bar-fill", style: { "--share": value / most, ...(colour ? { "--key": colour } : {}) } })),
        h("td", { class: "number" }, count(value), note && [" ", h("small", {}, note)])))));
}

/** The words of a bin: from, to, or both. */
export function range({ start, end }, unit = "") {
  const round = (value) => String(Number(value.toPrecision(2)));
  return end === null ? `from ${round(start)}${unit}` : `${round(start)} – ${round(end)}${unit}`;
}
