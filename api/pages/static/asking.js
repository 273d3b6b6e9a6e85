// What the forms share that ask for several trainings at once.
import { $, fill, h } from "./dom.js";
import { ask } from "./api.js";

/** Fills in the datasets that can be trained on, and the detectors. */
export async function offer() {
  const [datasets, architectures] = await Promise.all([ask("/v1/datasets?status=ready&limit=100"), ask("/v1/architectures")]);
  fill($("dataset"), datasets.data.map((one) => h("option", { value: one.id }, one.name)));
  fill($("architecture"), architectures.data.map((one) => h("option", { value: one.id }, one.id)));
}

/** Tells what is wrong with the form; nothing, where there are no words. */
export function told(words = "") {
  $("fault").textContent = words;
  $("fault").hidden = !words;
}
