import "./layout.js";
import { $, fill, h } from "./dom.js";
import { ask, onceKey } from "./api.js";
import { offer, told } from "./asking.js";
import { kept, listing } from "./listing.js";
import { anyOpen, searchRow } from "./rows.js";
import { mark } from "./schema_form.js";
import { parameters, row } from "./search_space.js";

kept(listing("searches", "/v1/searches", searchRow), anyOpen);

const START = ["optimizer.lr", "loss"];
const rows = new Map(); // what is searched, by name, in the order in which it was chosen
let known = new Map();

/** What there is to choose from, of the detector; what was chosen stays where this one has it, too. */
async function fields() {
  const name = $("architecture").value;
  const schema = await ask(`/v1/architectures/${encodeURIComponent(name)}/schema`);
  if (name !== $("architecture").value) return; // another one was chosen meanwhile
  known = parameters(schema);
  for (const one of [...rows.keys()].filter((one) => !known.has(one))) remove(one);
  offered();
}

function offered() {
  const groups = Map.groupBy([...known.values()].filter((one) => !rows.has(one.name)), (one) => one.group);
  fill($("add"), h("option", { value: "" }, "choose …"), [...groups].map(([group, some]) =>
    h("optgroup", { label: group }, some.map((one) => h("option", { value: one.name }, `${one.words} (${one.name})`)))));
}

function add(name) {
  const made = row(known.get(name), remove);
  rows.set(name, made);
  $("parameters").append(made.element);
  offered();
}

function remove(name) {
  rows.get(name).element.remove();
  rows.delete(name);
  offered();
}

async function begin() {
  await offer();
  await fields();
  START.filter((name) => known.has(name)).forEach(add);
}

$("architecture").addEventListener("change", () => fields().catch((problem) => told(problem.message)));
$("add").addEventListener("change", () => {
  const name = $("add").value;
  if (!name) return;
  add(name);
  rows.get(name).element.querySelector("input").focus();
});

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  mark($("form"), [], "");
  told();
  const space = Object.fromEntries([...rows].map(([name, one]) => [name, one.read()]));
  try {
    const made = await ask("/v1/searches", {
      method: "POST",
      headers: { "Idempotency-Key": onceKey() },
      json: {
        dataset_id: $("dataset").value, space, max_trials: Number($("trials").value), metric: $("metric").value,
        name: $("search-name").value.trim() || null, ...($("pruning").checked ? {} : { pruning: null }),
        config: { architecture: $("architecture").value, epochs: Number($("epochs").value) },
      },
    });
    location.assign(`/searches/${made.id}`);
  } catch (problem) {
    const rest = mark($("form"), problem.errors || [], "");
    told(rest.length || !problem.errors?.length ? rest.map((one) => `${one.pointer}: ${one.detail}`).join(" ") || problem.message
      : "Some fields cannot be so.");
  }
});

begin().catch((problem) => told(problem.message));
