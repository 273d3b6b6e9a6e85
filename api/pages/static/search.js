import "./layout.js";
import { $, fill, h, shownId } from "./dom.js";
import { actions } from "./actions.js";
import { ask } from "./api.js";
import { bars } from "./bars.js";
import { chart } from "./charts.js";
import { count, number, points, status } from "./format.js";

const id = shownId();
const base = `/v1/searches/${encodeURIComponent(id)}`;
const OPEN = new Set(["queued", "running", "paused"]);
let known = "";

async function refresh() {
  let found;
  try {
    found = await ask(base, { cache: "no-cache" });
  } catch (problem) {
    $("numbers").removeAttribute("aria-busy");
    fill($("notice"), h("p", { class: "notice bad" }, problem.message));
    return;
  }
  const name = found.name || `Search ${id.slice(-6)}`;
  document.title = `${name} · HarmonicDet`;
  fill($("name"), name);
  fill($("status"), status(found.status));
  fill($("actions"), actions(base, found, refresh), found.best?.model_id && h("a", { class: "button main", href: `/models/${found.best.model_id}` }, "See the best model"));
  fill($("notice"), found.error && h("p", { class: "notice bad" }, found.error.detail));
  const { progress } = found;
  fill($("numbers"), [[points(found.best?.value), `best ${found.metric}`], [`${count(progress.begun)} / ${count(found.max_trials)}`, "trials begun"],
    [count(progress.pruned), "ended early"], [count(progress.failed), "failed"], [count(progress.running), "running"],
  ].map(([value, words]) => h("div", {}, h("b", {}, value), h("span", {}, words))));
  $("numbers").removeAttribute("aria-busy");
  if (known !== JSON.stringify(found.trials)) {
    known = JSON.stringify(found.trials);
    await trials(found);
  }
  if (OPEN.has(found.status)) setTimeout(refresh, document.hidden ? 20000 : 4000);
}

const shown = (value) => (typeof value === "number" ? number(value) : typeof value === "string" ? value : JSON.stringify(value));

async function trials(found) {
  const names = Object.keys(found.space);
  fill($("trials"), h("table", {}, h("caption", { class: "unseen" }, "Every trial, the newest first"),
    h("thead", {}, h("tr", {}, ["Trial", "Status", found.metric, ...names].map((words) => h("th", { scope: "col" }, words)))),
    h("tbody", {}, [...found.trials].sort((a, b) => b.number - a.number).map((one) => h("tr", {},
      h("th", { scope: "row" }, h("a", { href: `/jobs/${one.job_id}` }, one.number)),
      h("td", {}, status(one.status), one.status_reason && h("small", {}, one.status_reason.replaceAll("_", " "))),
      h("td", {}, points(one.value)), names.map((name) => h("td", {}, shown(one.params[name]))))))));
  fill($("best"), found.best
    ? h("dl", { class: "facts" }, Object.entries(found.best.params).map(([name, value]) => [h("dt", {}, name), h("dd", {}, h("code", {}, shown(value)))]))
    : h("p", { class: "quiet" }, "No trial has been measured yet."));
  fill($("importances"), found.importances
    ? bars("Importance in percent", Object.entries(found.importances).map(([name, share]) => [name, Math.round(100 * share)]), 100)
    : h("p", { class: "quiet" }, "Told when the search has ended."));
  const measured = found.trials.filter((one) => typeof one.value === "number").sort((a, b) => a.number - b.number);
  if (measured.length < 2) return;
  $("course-card").hidden = false;
  let best = -Infinity;
  const course = measured.map((one) => (best = Math.max(best, 100 * one.value)));
  const numbers = measured.map((one) => one.number);
  await chart($("course"), {
    data: [
      { type: "scatter", mode: "markers", name: found.metric, x: numbers, y: measured.map((one) => 100 * one.value), marker: { color: "#3987d9", size: 8 } },
      { type: "scatter", mode: "lines", name: "best so far", x: numbers, y: course, line: { color: "#1fa187", width: 2, shape: "hv" } },
    ],
    layout: {
      height: 340, xaxis: { title: { text: "trial" } }, yaxis: { title: { text: `${found.metric} in points` }, automargin: true },
      legend: { orientation: "h", yanchor: "bottom", y: 1.02, x: 0 }, margin: { l: 60, r: 20, t: 40, b: 50 },
    },
  }, `${found.metric} of each trial, and the best so far: ${points(found.best?.value)}.`);
}

refresh();
