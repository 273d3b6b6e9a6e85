// How jobs, datasets and models stand in a list.
import { h } from "./dom.js";
import { bytes, count, detector, duration, jobName, meter, points, status, when } from "./format.js";
import { numeric } from "./listing.js";

const link = (where, words) => h("a", { href: where }, words);

export const OPEN = new Set(["queued", "running", "validating"]);
export const anyOpen = (items) => items.some((item) => OPEN.has(item.status));

export function jobRow(job) {
  const best = job.metrics && job.metrics.best;
  const left = job.progress && job.progress.eta_seconds;
  return [
    h("td", {}, link(`/jobs/${job.id}`, jobName(job)), h("small", {}, job.kind === "train" ? detector(architecture(job)) : job.kind)),
    h("td", {}, status(job.status), job.status_reason && h("small", {}, job.status_reason.replaceAll("_", " "))),
    h("td", {}, progress(job), job.status === "running" && typeof left === "number" && h("small", {}, `${duration(left)} left`)),
    numeric(best ? points(best.AP) : "–"),
    when(job.created_at),
  ];
}

function progress(job) {
  if (job.status === "running") return meter(job.progress ? job.progress.fraction : null, `Progress of ${jobName(job)}`);
  if (job.status === "queued") return job.queue_position ? `${job.queue_position}. in the queue` : "waiting";
  return "";
}

/** The detector that a training trains. */
export function architecture(job) {
  const config = job.resolved_config || job.spec.config || {};
  const model = config.model || config.architecture;
  return (model && (model.kind || model)) || "detector";
}

export const datasetRow = (dataset) => [
  link(`/datasets/${dataset.id}`, dataset.name),
  status(dataset.status),
  (dataset.format || "–").toUpperCase(),
  ...numbers(dataset),
  numeric(bytes(dataset.archive && dataset.archive.bytes)),
  when(dataset.created_at),
];

const numbers = ({ summary }) => [
  numeric(count(summary && summary.images)),
  numeric(count(summary && summary.used)),
  numeric(count(summary && summary.categories.length)),
];

export const shortDatasetRow = (dataset) => [
  link(`/datasets/${dataset.id}`, dataset.name),
  status(dataset.status),
  numbers(dataset)[0],
];

export const modelRow = (model) => [
  link(`/models/${model.id}`, model.name),
  detector(model.architecture),
  model.loss || "–",
  numeric(count(model.classes && model.classes.length)),
  numeric(points(model.metrics && model.metrics.AP)),
  numeric(points(model.metrics && model.metrics.AP50)),
  when(model.created_at),
];

export const shortModelRow = (model) => {
  const [name, kind, , , ap] = modelRow(model);
  return [name, kind, ap];
};

/** `named`: with the model it is about. */
export const evaluationRow = (evaluation, named = true) => [
  link(`/evaluations/${evaluation.id}`, `evaluation ${evaluation.id.slice(-6)}`),
  status(evaluation.status),
  ...(named ? [evaluation.model_id ? link(`/models/${evaluation.model_id}`, `model ${evaluation.model_id.slice(-6)}`) : "uploaded detections"] : []),
  evaluation.split,
  numeric(points(evaluation.metrics && evaluation.metrics.AP)),
  numeric(points(evaluation.metrics && evaluation.metrics.AP50)),
  when(evaluation.created_at),
];

const verdicts = (one) => Object.entries(one.verdict || {}).map(([arm, verdict]) => h("span", { class: "verdict-of" }, `${arm} `, status(verdict)));

export const comparisonRow = (one) => [
  link(`/comparisons/${one.id}`, one.name || `comparison ${one.id.slice(-6)}`),
  status(one.status),
  one.arms.map((arm) => arm.name).join(", "),
  numeric(count(one.seeds.length)),
  h("td", {}, one.verdict ? verdicts(one) : meter(one.progress.fraction, "Progress")),
  when(one.created_at),
];

export const searchRow = (one) => [
  link(`/searches/${one.id}`, one.name || `search ${one.id.slice(-6)}`),
  status(one.status),
  Object.keys(one.space).join(", "),
  numeric(`${count(one.progress.begun)} / ${count(one.max_trials)}`),
  numeric(one.best ? points(one.best.value) : "–"),
  when(one.created_at),
];
