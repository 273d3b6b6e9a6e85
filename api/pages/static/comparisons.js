import "./layout.js";
import { $, fill, h } from "./dom.js";
import { ask, onceKey } from "./api.js";
import { kept, listing } from "./listing.js";
import { anyOpen, comparisonRow } from "./rows.js";

kept(listing("comparisons", "/v1/comparisons", comparisonRow), anyOpen);

const START = [["baseline", { loss: "baseline" }], ["harmonic", { loss: "harmonic" }]];

function arm(name = "", config = {}) {
  const row = h("div", { class: "arm", role: "group", "aria-label": `Arm ${name}` },
    h("input", { "aria-label": "Name of the arm", required: true, maxlength: 100, value: name, placeholder: "name" }),
    h("input", { "aria-label": "What it changes, as JSON", class: "mono", value: JSON.stringify(config), spellcheck: "false" }),
    h("button", { type: "button", class: "quiet", "aria-label": "Take this arm away", onclick: () => row.remove() }, "×"));
  return row;
}

fill($("arms"), START.map(([name, config]) => arm(name, config)));
$("add").addEventListener("click", () => $("arms").append(arm()));

async function begin() {
  const [datasets, architectures] = await Promise.all([ask("/v1/datasets?status=ready&limit=100"), ask("/v1/architectures")]);
  fill($("dataset"), datasets.data.map((one) => h("option", { value: one.id }, one.name)));
  fill($("architecture"), architectures.data.map((one) => h("option", { value: one.id }, one.id)));
}

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const told = (words) => {
    $("fault").textContent = words;
    $("fault").hidden = !words;
  };
  told("");
  try {
    const arms = [...$("arms").children].map((row) => {
      const [name, config] = row.querySelectorAll("input");
      return { name: name.value, config: JSON.parse(config.value || "{}") };
    });
    const made = await ask("/v1/comparisons", {
      method: "POST",
      headers: { "Idempotency-Key": onceKey() },
      json: {
        dataset_id: $("dataset").value, seeds: Number($("seeds").value), arms, name: $("comparison-name").value || null,
        config: { architecture: $("architecture").value, epochs: Number($("epochs").value) },
      },
    });
    location.assign(`/comparisons/${made.id}`);
  } catch (problem) {
    told(problem instanceof SyntaxError ? "What an arm changes must be a JSON object, such as {\"loss\": \"baseline\"}." : problem.message);
  }
});

begin();
