import "./layout.js";
import { $, fill, h, say, shownId } from "./dom.js";
import { ask, path } from "./api.js";
import { boxed, legend } from "./boxes.js";
import { chartFrom } from "./charts.js";
import { count, number, points, status, when } from "./format.js";
import { gallery } from "./gallery.js";

const id = shownId();
const base = `/v1/evaluations/${encodeURIComponent(id)}`;
const HIT = "#1fa187";
const FALSE = "#e5484d";
const MISS = "#d99a1c";
const ODD = "#b875c8";

const COCO = [
  ["AP", "mean over IoU 0.50 to 0.95"], ["AP50", "at IoU 0.50"], ["AP75", "at IoU 0.75"],
  ["AP_small", "objects below 32² pixels"], ["AP_medium", "from 32² to 96²"], ["AP_large", "above 96²"],
  ["AR1", "recall with 1 detection an image"], ["AR10", "with 10"], ["AR100", "with 100"],
  ["AR_small", "small objects"], ["AR_medium", "medium"], ["AR_large", "large"],
];

const FIGURES = {
  pr: "Precision over recall, of all classes and of each.",
  ap_over_iou: "AP at IoU thresholds from 0.50 to 0.95.",
  confusion: "Share of the objects of each class that was found as each class.",
  score_against_iou: "How many matched detections have which score and IoU.",
  thresholds: "Precision, recall and F1 over the score threshold.",
};

async function begin() {
  let evaluation;
  try {
    evaluation = await ask(base, { cache: "no-cache" });
  } catch (problem) {
    $("numbers").removeAttribute("aria-busy");
    fill($("notice"), h("p", { class: "notice bad" }, problem.message));
    return;
  }
  head(evaluation);
  if (["queued", "running", "paused"].includes(evaluation.status)) {
    fill($("notice"), h("p", { class: "notice" }, "It is being measured. ", h("a", { href: `/jobs/${evaluation.job_id}` }, "See the job")));
    setTimeout(begin, 2000);
    return;
  }
  fill($("notice"), evaluation.error && h("p", { class: "notice bad" }, evaluation.error.detail),
    (evaluation.warnings || []).map((one) => h("p", { class: "notice" }, typeof one === "string" ? one : one.detail || one.message)));
  if (evaluation.bbox) details(evaluation);
}

function head(evaluation) {
  const { metrics } = evaluation;
  const name = `Evaluation on ${evaluation.split}`;
  document.title = `${name} · HarmonicDet`;
  fill($("name"), name);
  fill($("status"), status(evaluation.status));
  fill($("links"),
    evaluation.model_id && h("a", { class: "button", href: `/models/${evaluation.model_id}` }, "Model"),
    h("a", { class: "button", href: `/datasets/${evaluation.dataset_id}` }, "Dataset"),
    evaluation.bbox && h("a", { class: "button", href: `${base}/detections`, download: `${id}.json` }, "Detections (COCO)"));
  const shown = [
    [points(metrics?.AP), "AP"], [points(metrics?.AP50), "AP50"], [points(metrics?.AP75), "AP75"],
    [count(evaluation.images), "images"], [count(evaluation.objects), "objects"], [when(evaluation.created_at), "made"],
  ];
  fill($("numbers"), shown.map(([value, words]) => h("div", {}, h("b", {}, value), h("span", {}, words))));
  $("numbers").removeAttribute("aria-busy");
}

const table = (caption, heads, rows) => h("table", {}, h("caption", { class: "unseen" }, caption),
  h("thead", {}, h("tr", {}, heads.map((words, place) => h("th", { scope: "col", class: place ? "number" : "" }, words)))),
  h("tbody", {}, rows.map(([first, ...rest]) => h("tr", {}, h("th", { scope: "row" }, first), rest.map((value) => h("td", { class: "number" }, value))))));

function details(evaluation) {
  const { bbox, segm, slices, consistency } = evaluation;
  $("measured").hidden = false;
  fill($("coco"), table("COCO's twelve numbers in points", ["Metric", "Boxes", ...(segm ? ["Masks"] : [])],
    COCO.map(([name, words]) => [[name.replace("_", " "), " ", h("small", {}, words)], points(bbox.metrics[name]), ...(segm ? [points(segm.metrics[name])] : [])])));
  fill($("classes"), table("AP of each class in points", ["Class", "AP", "AP50", "Objects"],
    bbox.per_class.map((one) => [one.name, points(one.AP), points(one.AP50), count(one.boxes)])));
  fill($("slices"), slices?.length
    ? table("AP by kind of object in points", ["Objects", "Count", "AP", "AP50", "AP75"],
        slices.map((one) => [`${one.group}: ${one.name}`.replaceAll("_", " "), count(one.objects), points(one.AP), points(one.AP50), points(one.AP75)]))
    : h("p", { class: "quiet" }, "It was not measured by kind."));
  if (consistency) {
    fill($("consistency"), `Spearman correlation ${number(consistency.spearman)}; calibration error ${number(consistency.calibration_error)}. ` +
      `Were boxes ranked by their IoU, AP would be ${points(consistency.ap_ranked_by_iou)}: ${points(consistency.headroom)} points more.`);
  }
  for (const [name, words] of Object.entries(FIGURES)) chartFrom($(name), `${base}/figures/${name}`, words).catch((problem) => say(problem.message, "bad"));
  images(evaluation);
}

// Image by image

/** Positions in the dataset of the images of the split, by their id there; read as far as they are needed. */
class Positions {
  constructor(dataset, split) {
    this.where = (after) => path(`/v1/datasets/${dataset}/images`, { split, limit: 100, after });
    this.known = new Map();
    this.after = null;
    this.more = true;
    this.reading = null;
  }

  async of(imageId) {
    while (!this.known.has(imageId) && this.more) {
      this.reading ??= this.read().finally(() => (this.reading = null));
      await this.reading;
    }
    return this.known.get(imageId) ?? null;
  }

  async read() {
    try {
      const page = await ask(this.where(this.after));
      for (const one of page.data) this.known.set(one.image_id, one.id);
      this.after = page.last_id;
      this.more = page.has_more;
    } catch {
      this.more = false; // the dataset has gone: boxes without pictures
    }
  }
}

function images(evaluation) {
  const form = $("filters");
  const { limits } = evaluation.consistency || {};
  const positions = new Positions(evaluation.dataset_id, evaluation.split);
  if (!limits) form.showing.querySelector("[value=inconsistent]").remove();
  for (const one of evaluation.classes) form.category_id.append(h("option", { value: one.id }, one.name));
  fill($("legend"), legend([["found", HIT], ["false positive", FALSE], ["missed", MISS, true], ["score and place disagree", ODD]]));

  const odd = (hit) => limits && ((hit.score >= limits.high_score && hit.iou < limits.low_iou) || (hit.score < limits.low_score && hit.iou >= limits.high_iou));
  const boxesOf = (image) => [
    ...image.true_positives.map((one) => ({ box: one.box, colour: odd(one) ? ODD : HIT, strong: odd(one), label: `${one.category} ${one.score.toFixed(2)}, IoU ${one.iou.toFixed(2)}` })),
    ...image.false_positives.map((one) => ({ box: one.box, colour: FALSE, strong: true, label: `${one.category} ${one.score.toFixed(2)}` })),
    ...image.misses.map((one) => ({ box: one.box, colour: MISS, dashed: true, strong: true, label: `${one.category} missed` })),
  ];
  const words = (image) => [
    `${image.true_positives.length} found`, image.false_positives.length && `${image.false_positives.length} false`,
    image.misses.length && `${image.misses.length} missed`,
  ].filter(Boolean).join(", ");
  const name = (image) => (image.file_name || `image ${image.image_id}`).split("/").pop();

  /** The image with what was found; the picture follows when its place in the dataset is known. */
  function picture(image, size, labels) {
    const whole = boxed({ src: null, width: image.width || 1, height: image.height || 1, boxes: boxesOf(image), labels, alt: `${name(image)}: ${words(image)}` });
    const shown = whole.querySelector("img");
    shown.hidden = true;
    positions.of(image.image_id).then((place) => {
      if (place === null) return;
      shown.src = `/v1/datasets/${evaluation.dataset_id}/images/${place}/preview?size=${size}&boxes=false`;
      shown.hidden = false;
    });
    return whole;
  }

  const show = gallery("images", `${base}/images`, {
    query: () => {
      const { showing, ...rest } = Object.fromEntries(new FormData(form));
      return { ...rest, showing: showing === "inconsistent" ? "" : showing };
    },
    wanted: (image) => form.showing.value !== "inconsistent" || image.true_positives.some(odd),
    label: (image) => `${name(image)}: ${words(image)}`,
    tile: (image) => [picture(image, 400, false), h("span", { class: "under" }, h("span", {}, name(image)), h("span", { class: "quiet" }, words(image)))],
    large: (image) => ({ title: name(image), content: picture(image, 1600, true), note: h("p", { class: "quiet" }, words(image)) }),
  });
  form.addEventListener("change", show);
  form.addEventListener("submit", (event) => event.preventDefault()); // Enter in a field is a change
  show();
}

begin();
