// What of a config's JSON Schema can be searched, and the fields that say what each parameter may be.
import { h } from "./dom.js";
import { choicesOf, detectorOf, wordsOf } from "./schema_form.js";

// What changes no model, and what would compare trials that cannot be compared.
const LEFT_OUT = new Set(["seed", "train_split", "eval_split", "device", "num_workers", "image_cache_mib", "checkpoint_every_steps",
  "evaluate_every", "time_budget_seconds"]);

/** The parameters by their places in the config, such as `optimizer.lr`: `{name, group, kind, ...}`, the detector's own first. */
export function parameters(schema) {
  const found = [];
  walk(detectorOf(schema), "architecture", "Detector", schema, found);
  for (const [name, one] of Object.entries(schema.properties)) {
    if (name !== "architecture" && !LEFT_OUT.has(name)) parameter(one, name, wordsOf(name), "Training", schema, found);
  }
  return new Map(found.map((one) => [one.name, one]));
}

function walk(schema, place, group, root, found) {
  for (const [name, one] of Object.entries(schema.properties)) {
    if (name !== "kind") parameter(one, `${place}.${name}`, wordsOf(name), group, root, found);
  }
}

function parameter(schema, name, words, group, root, found) {
  const { inner, objects, plain, nullable } = choicesOf(schema, root);
  const own = { name, words, group, description: (schema.description || "").replaceAll("`", ""), default: schema.default };
  if (objects.length > 0) {
    // A choice is a name; what has none by itself, such as another model's weights, is no choice.
    if (plain.length > 1) found.push({ ...own, kind: "categorical", choices: plain });
    // Options are those of the kind that is the default.
    const usual = objects[0];
    if (own.default === undefined || usual.properties.kind?.const === own.default) walk(usual, name, words, root, found);
  } else if (inner.properties) {
    if (!nullable) walk(inner, name, words, root, found);
  } else if (plain.length > 1) {
    found.push({ ...own, kind: "categorical", choices: plain });
  } else if (inner.type === "boolean") {
    found.push({ ...own, kind: "categorical", choices: [true, false] });
  } else if (inner.type === "integer" || inner.type === "number") {
    found.push({ ...own, kind: inner.type === "integer" ? "int" : "float", schema: inner, proposed: proposed(inner, own.default) });
  }
}

/** A range around the default that the schema allows: over two orders of magnitude where there is room for them. */
function proposed(schema, value) {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema;
  const given = typeof value === "number" ? value : 0;
  if (schema.type === "integer") {
    const step = multipleOf || 1;
    const low = Math.max(minimum ?? 0, Math.floor(given / 2 / step) * step);
    return { low, high: Math.min(maximum ?? Infinity, Math.max(2 * given, low + 10 * step)), step, log: false };
  }
  const most = maximum ?? exclusiveMaximum ?? Infinity;
  if (given > 0 && 10 * given <= most) return { low: tidy(given / 10), high: tidy(10 * given), log: true };
  const between = (bound) => tidy((given + bound) / 2);
  return {
    low: minimum ?? (exclusiveMinimum === undefined ? 0 : between(exclusiveMinimum)),
    high: maximum ?? (exclusiveMaximum === undefined ? given + 1 : between(exclusiveMaximum)), log: false,
  };
}

const tidy = (value) => Number(value.toPrecision(6));

/** A parameter's fields with a button that takes it away. `read()`: what it may be, as the API wants it. */
export function row(one, remove) {
  const pointer = `/space/${one.name}`;
  const { element, read } = one.kind === "categorical" ? several(one, pointer) : range(one, pointer);
  const whole = h("div", { class: "parameter", role: "group", "aria-label": `${one.group}: ${one.words}` },
    h("div", { class: "about" }, h("strong", {}, one.words), h("code", {}, one.name),
      one.description && h("span", { class: "help" }, one.description)),
    element,
    h("button", { type: "button", class: "quiet", "aria-label": `Do not search ${one.name}`, onclick: () => remove(one.name) }, "×"));
  return { element: whole, read };
}

function several(one, pointer) {
  const boxes = one.choices.map((value, place) => [value, h("input", { type: "checkbox", checked: true, data: { pointer: `${pointer}/choices/${place}` } })]);
  const element = h("div", { class: "values field" }, boxes.map(([value, box]) => h("label", {}, box, value === true ? "yes" : value === false ? "no" : String(value))));
  return { element, read: () => ({ kind: "categorical", choices: boxes.filter(([, box]) => box.checked).map(([value]) => value) }) };
}

function range(one, pointer) {
  const { low, high, log, step } = one.proposed;
  const whole = one.kind === "int";
  const number = (place, value, words) => {
    const control = h("input", { type: "number", step: "any", required: true, value, data: { pointer: `${pointer}/${place}` } });
    return [control, h("div", { class: "field" }, h("label", {}, words, control))];
  };
  const [from, lowField] = number("low", low, "From");
  const [to, highField] = number("high", high, "To");
  const how = h("select", { data: { pointer } }, h("option", { value: "" }, "evenly"), h("option", { value: "log", selected: log }, "by order of magnitude"),
    h("option", { value: "choices" }, "only these values"));
  const list = h("input", { inputmode: "decimal", placeholder: `${low}, ${high}`, data: { pointer: `${pointer}/choices` } });
  const listField = h("div", { class: "field", hidden: true }, h("label", {}, "Values, with commas between", list));
  how.addEventListener("change", () => {
    const listed = how.value === "choices";
    for (const field of [lowField, highField]) field.hidden = listed;
    from.required = to.required = !listed;
    listField.hidden = !listed;
  });
  const read = () => {
    if (how.value === "choices") {
      return { kind: "categorical", choices: list.value.split(",").map((part) => part.trim()).filter(Boolean).map(Number) };
    }
    const said = { kind: one.kind, low: Number(from.value), high: Number(to.value) };
    if (how.value === "log") said.log = true;
    else if (whole && step > 1) said.step = step;
    return said;
  };
  return { element: h("div", { class: "values" }, lowField, highField, listField, h("div", { class: "field" }, h("label", {}, "Drawn", how))), read };
}
