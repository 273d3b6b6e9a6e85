import "./layout.js";
import { $, fill, h, say, shownId } from "./dom.js";
import { ask } from "./api.js";
import { bars, range } from "./bars.js";
import { WRONG, boxed, colourOf, legend } from "./boxes.js";
import { bytes, count, status } from "./format.js";
import { gallery } from "./gallery.js";
import { listing } from "./listing.js";
import { viewer } from "./viewer.js";

const id = shownId();
const base = `/v1/datasets/${encodeURIComponent(id)}`;
let colour = () => WRONG;
let shown = false;

async function refresh() {
  let dataset;
  try {
    dataset = await ask(base);
  } catch (problem) {
    fill($("notice"), h("p", { class: "notice bad" }, problem.message));
    $("numbers").removeAttribute("aria-busy");
    return;
  }
  document.title = `${dataset.name} · HarmonicDet`;
  fill($("name"), dataset.name);
  fill($("status"), status(dataset.status));
  head(dataset);
  if (dataset.status === "validating") {
    fill($("notice"), h("p", { class: "notice" }, "Its images and annotations are being checked. ",
      h("a", { href: `/jobs/${dataset.validation_job_id}` }, "See the job")));
    setTimeout(refresh, 1500);
    return;
  }
  fill($("notice"), dataset.error && h("p", { class: "notice bad" }, dataset.error.detail,
    dataset.error.hint && h("small", {}, dataset.error.hint)));
  if (!shown) details(dataset);
  shown = true;
}

function head(dataset) {
  const { summary } = dataset;
  const numbers = [
    [count(summary && summary.images), "images"],
    [count(summary && summary.used), "boxes used"],
    [count(summary && summary.dropped), "left out"],
    [count(summary && summary.fixed), "mended"],
    [count(summary && summary.categories.length), "classes"],
    [bytes(dataset.archive && dataset.archive.bytes), (dataset.format || "zip").toUpperCase()],
  ];
  fill($("numbers"), numbers.map(([value, words]) => h("div", {}, h("b", {}, value), h("span", {}, words))));
  $("numbers").removeAttribute("aria-busy");
  $("train").hidden = dataset.status === "invalid";
  $("train").href = `/train?dataset=${dataset.id}`;
}

async function details(dataset) {
  $("report").hidden = false;
  listing("findings", `${base}/report`, findingRow, { limit: 20 })();
  if (dataset.status !== "ready") return;
  const stats = await ask(`${base}/stats`);
  colour = colourOf(stats.classes.map((one) => one.id));
  fill($("classes"), bars("Boxes of each class", stats.classes.map((one) =>
    [one.name, one.boxes, colour(one.id), `${count(one.images)} images`])));
  fill($("splits"), bars("Images of each split", stats.splits.map((one) =>
    [one.name, one.images, null, `${count(one.boxes)} boxes`])),
    h("p", { class: "quiet" }, `${stats.boxes_per_image.mean.toFixed(1)} boxes an image on average, ` +
      `${stats.boxes_per_image.max} at most. ${count(stats.negatives)} images without any.`));
  fill($("areas"), bars("Boxes by the share of the image they cover", stats.relative_areas.map((bin) =>
    [bin.end === null ? `from ${percent(bin.start)}` : `${percent(bin.start)} – ${percent(bin.end)}`, bin.count])),
    h("p", { class: "quiet" }, `By COCO's areas: ${count(stats.box_sizes.small)} small, ` +
      `${count(stats.box_sizes.medium)} medium, ${count(stats.box_sizes.large)} large.`));
  fill($("ratios"), bars("Boxes by width over height", stats.aspect_ratios.map((bin) => [range(bin), bin.count])));
  $("stats").hidden = false;
  browse(stats);
}

const percent = (share) => `${Number((100 * share).toPrecision(2))} %`;

// The report

function findingRow(finding) {
  return [
    h("td", {}, h("strong", {}, finding.code.replaceAll("_", " ")), h("small", {}, finding.message)),
    h("code", {}, finding.location || "the archive"),
    finding.action === "none" ? "only said" : status(finding.action),
    finding.image === null ? "" : h("button", { type: "button",
      onclick: () => viewer(1, 0, () => drawn(finding)) }, "Show"),
  ];
}

// The box that a finding is about, as its sentence writes it: corners in pixels of the image.
const WRITTEN = /The box \[(-?[\d.e+]+), (-?[\d.e+]+), (-?[\d.e+]+), (-?[\d.e+]+)\]/;

async function drawn(finding) {
  const image = await imageAt(finding.image);
  const found = WRITTEN.exec(finding.message);
  const boxes = image.boxes.map((one) => ({ box: one.box, colour: colour(one.category_id), label: one.category }));
  if (found) boxes.push({ box: found.slice(1).map(Number), colour: WRONG, label: finding.code.replaceAll("_", " "), dashed: true, strong: true });
  return {
    title: finding.code.replaceAll("_", " "),
    content: picture(image, 1600, boxes),
    note: [h("p", {}, finding.message), h("p", { class: "quiet" }, h("code", {}, finding.location))],
  };
}

/** The one image of this position. */
async function imageAt(position) {
  const page = await ask(`${base}/images?limit=1&after=${position - 1}`);
  return page.data[0];
}

// The images

const picture = (image, size, boxes, labels = true) => boxed({
  src: `${base}/images/${image.id}/preview?size=${size}&boxes=false`,
  width: image.width, height: image.height, boxes, labels,
  alt: `${image.file_name}, ${image.boxes.length} boxes`,
});

const ofImage = (image) => image.boxes.map((one) => ({
  box: one.box, colour: colour(one.category_id), dashed: one.crowd || one.difficult,
  label: one.category + (one.crowd ? " (crowd)" : one.difficult ? " (difficult)" : ""),
}));

function browse(stats) {
  const form = $("filters");
  for (const one of stats.splits) form.split.append(h("option", { value: one.name }, one.name));
  for (const one of stats.classes) form.category_id.append(h("option", { value: one.id }, one.name));
  fill($("legend"), legend(stats.classes.slice(0, 12).map((one) => [one.name, colour(one.id)])));
  const show = gallery("images", `${base}/images`, {
    query: () => Object.fromEntries(new FormData(form)),
    label: (image) => `${image.file_name}: ${image.boxes.length} boxes${image.findings ? `, ${image.findings} findings` : ""}`,
    tile: (image) => [picture(image, 400, ofImage(image), false),
      h("span", { class: "under" }, h("span", {}, image.file_name.split("/").pop()),
        image.findings ? h("span", { class: "status bad" }, image.findings) : h("span", { class: "quiet" }, image.boxes.length))],
    large: (image) => ({
      title: image.file_name,
      content: picture(image, 1600, ofImage(image)),
      note: h("p", { class: "quiet" }, `${image.width} × ${image.height}, ${image.split}, ${image.boxes.length} boxes`),
    }),
  });
  form.addEventListener("change", show);
  form.addEventListener("submit", (event) => event.preventDefault()); // Enter in a field is a change
  $("browser").hidden = false;
  show();
}

$("delete").addEventListener("click", async () => {
  if (!confirm("Delete this dataset? Models trained on it keep working.")) return;
  try {
    await ask(base, { method: "DELETE" });
    location.assign("/datasets");
  } catch (problem) {
    say(problem.message, "bad");
  }
});

refresh();
