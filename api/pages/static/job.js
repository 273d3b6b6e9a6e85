import "./layout.js";
import { $, fill, h, say, shownId } from "./dom.js";
import { ask, path, send } from "./api.js";
import { chart } from "./charts.js";
import { Curves } from "./curves.js";
import { bytes, count, detector, duration, jobName, meter, points, status, when } from "./format.js";
import { follow } from "./live.js";
import { architecture } from "./rows.js";

const id = shownId();
const base = `/v1/jobs/${encodeURIComponent(id)}`;
const ENDED = new Set(["succeeded", "failed", "cancelled"]);
const EVERY = 2500;
const curves = new Curves();
let job = null;
let step = null;
let attempt = null;
let timer = null;
let asking = null;

// Which actions a status allows, and what their buttons say.
const ACTIONS = {
  pause: ["Pause", ["queued", "running"]],
  // Of what is compared or searched nothing is kept half trained.
  stop: ["Stop and keep", ["running", "paused"]],
  resume: ["Resume", ["paused"]],
  retry: ["Retry", ["failed", "cancelled"]],
  cancel: ["Cancel", ["queued", "running", "paused"]],
};

/** Asks how the job is now; however often it is called, once at a time. */
function refresh() {
  asking ??= look().finally(() => {
    asking = null;
    clearTimeout(timer);
    if (job && !ENDED.has(job.status) && !document.hidden) timer = setTimeout(refresh, EVERY);
  });
  return asking;
}

async function look() {
  try {
    job = await ask(base, { cache: "no-cache" }); // 304 where nothing has changed
  } catch (problem) {
    $("numbers").removeAttribute("aria-busy");
    fill($("notice"), h("p", { class: "notice bad" }, problem.message));
    return;
  }
  show();
  const now = `${job.progress?.step} ${job.status} ${job.phase} ${job.attempt}`;
  if (now === step) return;
  step = now;
  await Promise.all([metrics(), log()]);
}

async function metrics() {
  if (job.kind !== "train") return;
  if (attempt !== job.attempt) curves.forget();
  attempt = job.attempt;
  for (let more = true; more; ) {
    const page = await ask(path(`${base}/metrics`, { after: curves.after }));
    curves.take(page.data);
    more = page.has_more;
  }
  if (curves.empty) return;
  $("curves-card").hidden = false;
  await chart($("curves"), curves.figure(), curves.words());
}

async function log() {
  const text = await (await send(`${base}/logs`)).text();
  const place = $("log");
  const atEnd = place.scrollHeight - place.scrollTop - place.clientHeight < 20;
  if (place.textContent === text) return;
  place.textContent = text || "Nothing yet.";
  if (atEnd) place.scrollTop = place.scrollHeight;
}

function show() {
  const name = jobName(job);
  const { progress } = job;
  document.title = `${name}: ${job.status} · HarmonicDet`;
  fill($("name"), name);
  fill($("status"), status(job.status));
  fill($("actions"), Object.entries(ACTIONS)
    .filter(([action, [, from]]) => from.includes(job.status) && (job.kind === "train" || ["cancel", "retry"].includes(action)) &&
      !(action === "stop" && (job.spec.comparison || job.spec.search)))
    .map(([action, [words]]) => h("button", { type: "button", class: action === "cancel" ? "danger" : "",
      disabled: job.requested_action === action, onclick: () => act(action) },
      job.requested_action === action ? `${words} …` : words)),
    results());
  fill($("notice"), notice());
  $("now").hidden = ENDED.has(job.status);
  fill($("phase"), job.status === "queued" ? waiting()
    : job.phase ? job.phase[0].toUpperCase() + job.phase.slice(1) : job.status);
  fill($("left"), progress && typeof progress.eta_seconds === "number" ? `about ${duration(progress.eta_seconds)} left` : "");
  fill($("meter"), job.status === "queued" ? "" : meter(progress ? progress.fraction : null, `Progress of ${name}`));
  numbers();
  about();
}

const WAITS = {
  worker: "a free worker", worker_disk_full: "a worker with room on its disk", dataset: "its dataset to be validated",
  delay: "some seconds after a lost worker", quota: "its project to have fewer running jobs",
};

const waiting = () => `Waiting for ${WAITS[job.waiting_for] || "a worker"}` +
  (job.queue_position > 1 ? `, ${job.queue_position}. in the queue` : "");

const results = () => [
  job.model_id && h("a", { class: "button main", href: `/models/${job.model_id}` }, "See the model"),
  job.evaluation_id && h("a", { class: "button", href: `/evaluations/${job.evaluation_id}` }, "See the evaluation"),
];

function notice() {
  const { error } = job;
  if (error) {
    return h("div", { class: "notice bad" }, h("strong", {}, (job.status_reason || error.code).replaceAll("_", " ")),
      h("p", {}, error.detail), error.hint && h("p", {}, error.hint));
  }
  if (job.status_reason) return h("p", { class: "notice" }, job.status_reason.replaceAll("_", " "));
  return null;
}

function numbers() {
  const { progress, metrics: found } = job;
  const best = found?.best;
  const last = found?.last;
  const spent = job.started_at ? (new Date(job.finished_at || Date.now()) - new Date(job.started_at)) / 1000 : null;
  const shown = [
    job.kind === "train" && [points(best?.AP), best?.epoch === undefined ? "best AP" : `best AP, epoch ${Number(best.epoch.toFixed(1))}`],
    job.kind === "train" && [points(best?.AP50), "its AP50"],
    job.kind === "train" && [typeof last?.loss === "number" ? last.loss.toPrecision(3) : "–", "loss now"],
    progress?.epochs && [`${count(progress.epoch)} / ${count(progress.epochs)}`, "epochs"],
    progress?.steps && [`${count(progress.step)} / ${count(progress.steps)}`, "steps"],
    [duration(spent), job.finished_at ? "taken" : "so far"],
    [String(job.attempt), job.attempt === 1 ? "attempt" : "attempts"],
  ];
  fill($("numbers"), shown.filter(Boolean).map(([value, words]) => h("div", {}, h("b", {}, value), h("span", {}, words))));
  $("numbers").removeAttribute("aria-busy");
}

function about() {
  const dataset = job.spec.dataset_id;
  const facts = [
    ["Kind", job.kind],
    job.kind === "train" && ["Detector", detector(architecture(job))],
    dataset && ["Dataset", h("a", { href: `/datasets/${dataset}` }, dataset)],
    ["Worker", job.worker || "–"],
    ["Asked for", when(job.created_at)],
    ["Begun", when(job.started_at)],
    ["Ended", when(job.finished_at)],
    ["Id", h("code", {}, job.id)],
    job.kind === "train" && ["Provenance", h("a", { href: `${base}/manifest` }, "manifest")],
  ];
  fill($("facts"), facts.filter(Boolean).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  const text = JSON.stringify(job.resolved_config || job.spec, null, 2);
  if ($("config").textContent !== text) $("config").textContent = text;
}

async function act(action) {
  if (action === "cancel" && !confirm("Cancel this job? What it has trained is not kept as a model.")) return;
  try {
    await ask(`${base}/${action}`, { method: "POST" });
    say({ pause: "It pauses at the next checkpoint.", stop: "It stops and keeps the best so far.", cancel: "It is being cancelled.",
      resume: "It goes on.", retry: "It begins again where it was." }[action]);
    live.open();
    await refresh();
  } catch (problem) {
    say(problem.message, "bad");
  }
}

// Events

const BAD = new Set(["failed", "cancelled", "requeued", "checkpoint_forgotten"]);

function told(event) {
  const type = event.type.replace("job.", "");
  const { data } = event;
  const more =
    type === "phase" ? data.phase
    : type === "checkpoint" ? [data.step !== undefined && `step ${count(data.step)}`, data.bytes && bytes(data.bytes)].filter(Boolean).join(", ")
    : [data.reason, data.status_reason, data.detail, data.message, data.worker].filter((one) => typeof one === "string").join(", ");
  $("events").prepend(h("li", { class: BAD.has(type) ? "bad" : type === "succeeded" ? "good" : "" },
    h("strong", {}, type.replaceAll("_", " ")), more && h("span", {}, more),
    h("span", { class: "quiet" }, `attempt ${event.attempt} · `, when(event.created_at))));
  refresh();
}

document.addEventListener("visibilitychange", () => !document.hidden && refresh());
const live = follow(id, told);
refresh();
