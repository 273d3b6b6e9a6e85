import "./layout.js";
import { $, fill, h, say, shownId } from "./dom.js";
import { actions } from "./actions.js";
import { ask } from "./api.js";
import { chartFrom } from "./charts.js";
import { meter, points, status } from "./format.js";

const id = shownId();
const base = `/v1/comparisons/${encodeURIComponent(id)}`;
const METRICS = ["AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR100"];
const OPEN = new Set(["queued", "running", "paused"]);
const FIGURES = {
  differences: "Differences from the baseline with their intervals.",
  pr: "Precision over recall of each arm.",
  ap_over_iou: "AP over IoU thresholds of each arm.",
  score_against_iou: "How scores and IoU of each arm go together.",
  loss_curves: "Loss and AP over the epochs of each arm.",
};
const SENTENCES = {
  better: (arm, against) => `${arm} is better than ${against}`,
  worse: (arm, against) => `${arm} is worse than ${against}`,
  inconclusive: (arm, against) => `It cannot be told whether ${arm} is better or worse than ${against}`,
  refused: (arm, against) => `No verdict on ${arm} against ${against}`,
};
let drawn = false;

async function refresh() {
  let found;
  try {
    found = await ask(base, { cache: "no-cache" });
  } catch (problem) {
    $("arms").removeAttribute("aria-busy");
    fill($("notice"), h("p", { class: "notice bad" }, problem.message));
    return;
  }
  const name = found.name || `Comparison ${id.slice(-6)}`;
  document.title = `${name} · HarmonicDet`;
  fill($("name"), name);
  fill($("status"), status(found.status));
  fill($("actions"), actions(base, found, refresh),
    found.result && [h("a", { class: "button", href: `${base}/report?format=html` }, "Whole report"), h("a", { class: "button", href: `${base}/report?format=markdown`, download: `${id}.md` }, "Markdown")]);
  fill($("notice"), found.error && h("p", { class: "notice bad" }, found.error.detail));
  $("now").hidden = !OPEN.has(found.status);
  fill($("meter"), meter(found.progress.fraction, "Progress of the comparison"));
  runs(found);
  if (found.result && !drawn) {
    drawn = true;
    await report(found);
  } else if (!found.result) {
    fill($("arms"), means(found, found.arms.map((arm) => ({ name: arm.name, mean: meanOf(arm) })), null));
    $("arms").removeAttribute("aria-busy");
  }
  if (OPEN.has(found.status)) setTimeout(refresh, document.hidden ? 20000 : 4000);
}

/** Means over the seeds that have ended, before it is compared. */
function meanOf(arm) {
  const told = arm.runs.filter((run) => run.metrics);
  return Object.fromEntries(METRICS.map((name) => {
    const values = told.map((run) => run.metrics[name]).filter((value) => typeof value === "number");
    return [name, values.length ? values.reduce((sum, one) => sum + one, 0) / values.length : null];
  }));
}

function means(found, arms, differences) {
  const interval = (one) => (one ? `${signed(one[0])} to ${signed(one[1])}` : "–");
  const rows = METRICS.map((name) => h("tr", {}, h("th", { scope: "row" }, name.replace("_", " ")),
    arms.map((arm) => h("td", { class: "number" }, points(arm.mean?.[name]), typeof arm.sd?.[name] === "number" && h("small", {}, `± ${points(arm.sd[name])}`))),
    (differences || []).map((one) => h("td", { class: "number" }, signed(one.metrics[name]?.mean),
      one.metrics[name]?.interval && h("small", {}, interval(one.metrics[name].interval))))));
  return h("table", {}, h("caption", { class: "unseen" }, "Means over the seeds, in points"),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Metric"),
      arms.map((arm) => h("th", { scope: "col", class: "number" }, arm.name, arm.name === found.baseline && h("small", {}, "baseline"))),
      (differences || []).map((one) => h("th", { scope: "col", class: "number" }, `${one.arm} − ${found.baseline}`, h("small", {}, "95 % interval"))))),
    h("tbody", {}, rows));
}

const signed = (value) => (typeof value === "number" ? `${value > 0 ? "+" : value < 0 ? "−" : ""}${(100 * Math.abs(value)).toFixed(2)}` : "–");

async function report(found) {
  const told = await ask(`${base}/report?format=json`);
  fill($("answers"), Object.entries(told.verdict).map(([arm, verdict]) => {
    const difference = told.differences.find((one) => one.arm === arm);
    const metric = difference?.metrics?.[told.primary || "AP"];
    return h("section", { class: "card answer" }, status(verdict), h("div", {}, h("strong", {}, SENTENCES[verdict]?.(arm, told.baseline) || verdict),
      metric && h("p", { class: "quiet" }, `${told.primary || "AP"} differs by ${signed(metric.mean)} points over ${told.seeds.length} seeds` +
        (difference.decided_by?.interval ? `; interval over seeds and images ${signed(difference.decided_by.interval[0])} to ${signed(difference.decided_by.interval[1])}.` : "."))));
  }));
  const arms = told.arms.length ? told.arms : found.arms.map((arm) => ({ name: arm.name, mean: meanOf(arm) }));
  fill($("arms"), means(found, arms, told.differences.filter((one) => one.metrics)));
  $("arms").removeAttribute("aria-busy");
  fill($("notice"), (told.warnings || []).map((one) => h("p", { class: "notice" }, one)));
  $("figures").hidden = false;
  for (const [name, words] of Object.entries(FIGURES)) {
    if (!(name in told.figures)) $(name).closest("section").hidden = true;
    else chartFrom($(name), `${base}/figures/${name}`, words).catch((problem) => say(problem.message, "bad"));
  }
}

function runs(found) {
  const seeds = [...new Set(found.arms.flatMap((arm) => arm.runs.map((run) => run.seed)))];
  fill($("runs"), h("table", {}, h("caption", { class: "unseen" }, "Each training by arm and seed"),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Arm"), seeds.map((seed) => h("th", { scope: "col" }, `Seed ${seed}`)))),
    h("tbody", {}, found.arms.map((arm) => h("tr", {}, h("th", { scope: "row" }, arm.name), seeds.map((seed) => {
      const run = arm.runs.find((one) => one.seed === seed);
      if (!run) return h("td", {}, "–");
      return h("td", {}, h("a", { href: `/jobs/${run.job_id}` }, run.metrics ? `AP ${points(run.metrics.AP)}` : run.status),
        run.status === "running" && h("small", {}, `${Math.floor(100 * run.fraction)} %`),
        run.error && h("small", {}, run.error.detail));
    }))))));
}

refresh();
