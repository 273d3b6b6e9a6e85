import "./layout.js";
import { $, fill, h, say, shownId } from "./dom.js";
import { Problem, ask, onceKey, path } from "./api.js";
import { bars } from "./bars.js";
import { boxed, colourOf } from "./boxes.js";
import { bytes, count, detector, points, when } from "./format.js";
import { kept, listing } from "./listing.js";
import { anyOpen, evaluationRow } from "./rows.js";

const id = shownId();
const base = `/v1/models/${encodeURIComponent(id)}`;
const LEAST = 0.01; // detections below are not asked for: nobody moves the slider that far
let model = null;
let colour = () => "";
let prediction = null;
let picture = null; // URL of the image that is shown

async function begin() {
  try {
    model = await ask(base);
  } catch (problem) {
    $("numbers").removeAttribute("aria-busy");
    fill($("notice"), h("p", { class: "notice bad" }, problem.message));
    return;
  }
  document.title = `${model.name} · HarmonicDet`;
  fill($("name"), model.name);
  const classes = model.classes || [];
  colour = colourOf(classes.map((one) => one.id));
  head(classes);
  files();
  aliases();
  facts();
  if (model.artifacts.some((one) => one.name === "model.onnx")) tryIt(classes);
  const turn = kept(listing("evaluations", "/v1/evaluations", (one) => evaluationRow(one, false), { query: () => ({ model_id: model.id }) }), anyOpen);
  evaluating(turn);
}

function head(classes) {
  fill($("tags"), model.aliases.map((one) => h("span", { class: "status good" }, one)));
  const { metrics } = model;
  const shown = [
    [points(metrics?.AP), "AP"], [points(metrics?.AP50), "AP50"], [points(metrics?.AP75), "AP75"],
    [points(metrics?.AR100), "AR100"], [count(classes.length), "classes"], [detector(model.architecture), `${model.loss || "no"} loss`],
  ];
  fill($("numbers"), shown.map(([value, words]) => h("div", {}, h("b", {}, value), h("span", {}, words))));
  $("numbers").removeAttribute("aria-busy");
  const rows = model.evaluation?.per_class || [];
  fill($("per-class"), rows.length
    ? bars("AP of each class in points", rows.map((one) => [one.name, Math.round(1000 * (one.AP || 0)) / 10, colour(one.id), one.boxes === undefined ? null : `${count(one.boxes)} boxes`]), 100)
    : h("p", { class: "quiet" }, "It was not measured."));
}

function facts() {
  const link = (kind, value) => value && h("a", { href: `/${kind}/${value}` }, value);
  const shown = [
    ["Source", model.source], ["Training", link("jobs", model.job_id)], ["Dataset", link("datasets", model.dataset_id)],
    ["Evaluation", model.evaluation && link("evaluations", model.evaluation.id)], ["Made", when(model.created_at)], ["Id", h("code", {}, model.id)],
    ["Provenance", model.job_id && h("a", { href: `/v1/jobs/${model.job_id}/manifest` }, "manifest")],
  ];
  fill($("facts"), shown.filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  $("config").textContent = JSON.stringify(model.config, null, 2);
}

function files() {
  fill($("files"), h("table", {}, h("thead", {}, h("tr", {}, ["File", "Size", "SHA-256"].map((words) => h("th", { scope: "col" }, words)))),
    h("tbody", {}, model.artifacts.map((one) => h("tr", {},
      h("td", {}, h("a", { href: `${base}/artifacts/${encodeURIComponent(one.name)}`, download: one.name }, one.name)),
      h("td", { class: "number" }, bytes(one.bytes)), h("td", {}, h("code", { title: one.sha256 }, `${one.sha256.slice(0, 12)}…`)))))));
}

// Trying it

function tryIt(classes) {
  $("try").hidden = false;
  fill($("classes"), classes.map((one) => h("label", { class: "check" },
    h("input", { type: "checkbox", checked: true, value: one.id, onchange: filter }),
    h("span", { class: "key", style: { "--key": colour(one.id) } }), " ", one.name)));
  $("threshold").addEventListener("input", filter);
  $("file").addEventListener("change", (event) => {
    if (event.target.files[0]) predict(event.target.files[0], event.target.files[0].name);
    event.target.value = "";
  });
  for (const type of ["dragover", "dragenter"]) $("drop").addEventListener(type, () => $("drop").classList.add("over"));
  for (const type of ["dragleave", "drop"]) $("drop").addEventListener(type, () => $("drop").classList.remove("over"));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) predict(file, file.name);
  });
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
    if (file) predict(file, "pasted image");
  });
  if (model.dataset_id) sampling();
  advise();
}

/** The threshold that the model's evaluation found best, if it has. */
async function advise() {
  if (!model.evaluation) return;
  try {
    const where = `/v1/evaluations/${model.evaluation.id}`;
    if (!(await ask(where)).bbox) return; // an earlier version's
    const sweep = await ask(`${where}/threshold-sweep`);
    const best = sweep.operating_points.best_f1.all.chosen;
    if (!best) return;
    $("threshold").value = best.threshold;
    fill($("advice"), `Best F1 in its evaluation: from ${best.threshold.toFixed(2)}.`);
    filter();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
  }
}

async function sampling() {
  const where = `/v1/datasets/${model.dataset_id}`;
  let total = 0;
  try {
    const dataset = await ask(where);
    total = dataset.status === "ready" ? dataset.summary.images : 0;
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
  }
  if (!total) return;
  $("sample").hidden = false;
  $("sample").addEventListener("click", async () => {
    const place = Math.floor(Math.random() * total);
    const answer = await fetch(`${where}/images/${place}/content`);
    if (answer.ok) predict(await answer.blob(), `image ${place} of the dataset`);
    else say("This image cannot be had.", "bad");
  });
}

async function predict(file, name) {
  fill($("found"), "Looking …");
  try {
    const found = await ask(path(`${base}/predict`, { score_threshold: LEAST, max_detections: 300 }), {
      method: "POST", body: file, headers: { "Content-Type": file.type || "application/octet-stream" },
    });
    if (picture) URL.revokeObjectURL(picture);
    picture = URL.createObjectURL(file);
    prediction = { ...found, name };
    draw();
  } catch (problem) {
    fill($("found"));
    say(problem.message, "bad");
  }
}

function draw() {
  const { width, height } = prediction.image;
  const shown = boxed({
    src: picture, width, height, alt: prediction.name,
    boxes: prediction.detections.map((one) => ({ box: one.box, colour: colour(one.class_id), label: `${one.class_name} ${one.score.toFixed(2)}` })),
  });
  fill($("stage"), shown);
  $("stage").classList.add("stage");
  // In the order of the detections, so that the slider only has to hide.
  prediction.shapes = [...shown.querySelectorAll("svg > g > g")];
  const { timing_ms: timing } = prediction;
  fill($("timing"), `${timing.total.toFixed(1)} ms, of which ${timing.detect.toFixed(1)} in the network`);
  filter();
}

/** Shows what has the score and the class that are wanted: at once, nobody is asked. */
function filter() {
  const threshold = Number($("threshold").value);
  $("threshold-shown").textContent = threshold.toFixed(2);
  if (!prediction) return;
  const wanted = new Set([...$("classes").querySelectorAll("input:checked")].map((one) => Number(one.value)));
  const counts = new Map();
  prediction.detections.forEach((one, place) => {
    const shown = one.score >= threshold && wanted.has(one.class_id);
    prediction.shapes[place].style.display = shown ? "" : "none";
    if (shown) counts.set(one.class_name, (counts.get(one.class_name) || 0) + 1);
  });
  const total = [...counts.values()].reduce((sum, one) => sum + one, 0);
  fill($("found"), h("strong", {}, total === 1 ? "1 object" : `${total} objects`),
    counts.size > 0 && `: ${[...counts].map(([name, many]) => `${many} ${name}`).join(", ")}`);
}

// What can be changed

function aliases() {
  fill($("aliases"), model.aliases.map((name) => h("li", {}, h("span", { class: "status good" }, name),
    h("button", { type: "button", class: "quiet", "aria-label": `Take the alias ${name} away`, onclick: () => alias(name, "DELETE") }, "×"))));
}

async function alias(name, method) {
  try {
    await ask(`/v1/model-aliases/${encodeURIComponent(name)}`, { method, ...(method === "PUT" ? { json: { model_id: model.id } } : {}) });
    model = await ask(base);
    head(model.classes || []);
    aliases();
  } catch (problem) {
    say(problem.message, "bad");
  }
}

$("alias-form").addEventListener("submit", (event) => {
  event.preventDefault();
  alias($("alias").value.trim(), "PUT");
  $("alias").value = "";
});

async function evaluating(turn) {
  const form = $("evaluate");
  const datasets = await ask("/v1/datasets?status=ready&limit=100");
  fill(form.dataset_id, datasets.data.map((one) => h("option", { value: one.id, selected: one.id === model.dataset_id }, one.name)));
  form.hidden = datasets.data.length === 0;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await ask("/v1/evaluations", { method: "POST", json: { model: model.id, dataset_id: form.dataset_id.value, split: form.split.value },
        headers: { "Idempotency-Key": onceKey() } });
      say("It is being evaluated.");
      turn();
    } catch (problem) {
      say(problem.message, "bad");
    }
  });
}

$("rename").addEventListener("click", async () => {
  const name = prompt("Name of the model", model?.name);
  if (!name || name === model.name) return;
  try {
    model = { ...model, ...(await ask(base, { method: "PATCH", json: { name } })) };
    fill($("name"), model.name);
  } catch (problem) {
    say(problem.message, "bad");
  }
});

$("delete").addEventListener("click", async () => {
  if (!confirm("Delete this model and its files?")) return;
  try {
    await ask(base, { method: "DELETE" });
    location.assign("/models");
  } catch (problem) {
    say(problem.message, "bad");
  }
});

begin();
