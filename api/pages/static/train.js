import "./layout.js";
import { $, fill, h, say } from "./dom.js";
import { ask, onceKey } from "./api.js";
import { bytes, count, duration } from "./format.js";
import { detectorOf, mark, objectForm } from "./schema_form.js";

const FIRST = ["epochs", "batch_size", "loss", "optimizer"];
const OF_DETECTOR = ["image_size", "initial_weights"];
const CONFIG = "/config";
let whole = null; // the form of the config
let options = null; // that of the detector
let asked = 0;
let timer = null;

async function begin() {
  const [datasets, architectures] = await Promise.all([ask("/v1/datasets?limit=100"), ask("/v1/architectures")]);
  const usable = datasets.data.filter((one) => one.status !== "invalid");
  const wanted = new URLSearchParams(location.search).get("dataset");
  if (wanted && !usable.some((one) => one.id === wanted)) {
    try {
      usable.unshift(await ask(`/v1/datasets/${encodeURIComponent(wanted)}`));
    } catch (problem) {
      say(problem.message, "bad");
    }
  }
  fill($("dataset"), usable.map((one) =>
    h("option", { value: one.id, selected: one.id === wanted },
      one.summary ? `${one.name} (${count(one.summary.images)} images)` : `${one.name} (${one.status})`)));
  if (usable.length === 0) {
    fill($("plan"), h("p", {}, "There is no dataset yet. ", h("a", { href: "/datasets" }, "Upload one")));
    $("start").disabled = true;
  }
  fill($("architecture"), architectures.data.map((one) => h("option", { value: one.id }, one.id)));
  const about = new Map(architectures.data.map((one) => [one.id, one.description]));
  $("architecture").addEventListener("change", () => fields(about));
  await fields(about);
}

async function fields(about) {
  const name = $("architecture").value;
  fill($("about"), about.get(name));
  const schema = await ask(`/v1/architectures/${encodeURIComponent(name)}/schema`);
  options = objectForm(detectorOf(schema), { root: schema, pointer: "/architecture", first: OF_DETECTOR, rest: "More of the detector" });
  whole = objectForm(schema, { first: FIRST, leave: ["architecture"] });
  fill($("options"), options.element);
  fill($("config"), whole.element);
  plan();
}

/** What is sent: the choices that are no defaults. */
function body() {
  const config = { ...whole.read(), architecture: { kind: $("architecture").value, ...options.read() } };
  const name = $("model-name").value.trim();
  return { kind: "train", dataset_id: $("dataset").value, config, ...(name ? { name } : {}) };
}

async function plan() {
  if (!whole || !$("dataset").value) return;
  const mine = (asked += 1);
  try {
    const found = await ask("/v1/jobs?dry_run=true", { method: "POST", json: body() });
    if (mine !== asked) return;
    mark($("form"), [], CONFIG);
    told(null);
    fill($("plan"), answer(found));
    $("start").disabled = false;
  } catch (problem) {
    if (mine === asked) refused(problem);
  }
}

function answer(found) {
  const { disk, memory, time, warnings } = found;
  return [
    h("dl", { class: "facts" },
      h("dt", {}, "Steps"), h("dd", {}, found.steps === null ? "known once it is validated" : count(found.steps)),
      h("dt", {}, "An epoch"), h("dd", {}, found.steps_per_epoch === null ? "–" : `${count(found.steps_per_epoch)} steps`),
      disk && [h("dt", {}, "Disk needed"), h("dd", {}, `${bytes(disk.total_bytes)} of ${bytes(disk.free_bytes)} free`),
        h("dt", {}, "A checkpoint"), h("dd", {}, bytes(disk.checkpoint_bytes))],
      memory && [h("dt", {}, "Memory"), h("dd", {}, `${bytes(memory.state_bytes)} for the network, ${bytes(memory.images_bytes)} for images, and what a batch takes`)],
      h("dt", {}, "Time"), h("dd", {}, time ? [`about ${duration(time.seconds)}, as `, ...likeIt(time.trainings)]
        : found.steps === null ? "–" : "known once one like it has ended")),
    warnings && warnings.length === 0 && h("p", { class: "notice good" }, "Nothing to be said against it."),
    (warnings || []).map((one) => h("p", { class: "notice" }, one.detail)),
    h("details", {}, h("summary", {}, "The whole config"), h("pre", { class: "code", role: "region", tabindex: 0, "aria-label": "The whole config" }, JSON.stringify(found.resolved_config, null, 2))),
  ];
}

/** Links to the trainings that an estimate is made from. */
const likeIt = (ids) => ids.flatMap((id, place) => [place > 0 && ", ", h("a", { href: `/jobs/${id}` }, `training ${id.slice(-6)}`)])
  .concat(" took");

function refused(problem) {
  const rest = mark($("form"), problem.errors || [], CONFIG);
  $("start").disabled = true;
  told(rest.length || !problem.errors?.length ? rest.map((one) => `${one.pointer}: ${one.detail}`).join(" ") || problem.message : "Some fields cannot be so.");
}

function told(words) {
  $("fault").textContent = words || "";
  $("fault").hidden = !words;
}

$("form").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(plan, 350);
});

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("start").disabled = true;
  try {
    const job = await ask("/v1/jobs", { method: "POST", json: body(), headers: { "Idempotency-Key": onceKey() } });
    location.assign(`/jobs/${job.id}`);
  } catch (problem) {
    refused(problem);
    $("start").disabled = false;
  }
});

begin().catch((problem) => told(problem.message));
