import "./layout.js";
import { $, fill, h } from "./dom.js";
import { ask, onceKey } from "./api.js";
import { offer, told } from "./asking.js";
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

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  told();
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

offer().catch((problem) => told(problem.message));
