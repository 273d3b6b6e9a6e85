// A form made from a JSON Schema (2020-12): what has a default needs nothing, and only what was changed is sent.
import { fill, h } from "./dom.js";

const WORDS = { lr: "Learning rate", amp: "Half precision", ema_decay: "EMA decay", sgd: "SGD", adamw: "AdamW", image_cache_mib: "Image cache (MiB)", iou_loss: "IoU loss" };

/** A name of the schema as words. */
export function wordsOf(name) {
  return WORDS[name] || (name[0].toUpperCase() + name.slice(1)).replaceAll("_", " ");
}

/**
 * Fields of an object. `first`: names that are shown at once, in this order; the others stand behind the word `rest`.
 *
 * Answers `{element, read}`: `read()` is an object of what differs from the defaults.
 */
export function objectForm(schema, { root = schema, pointer = "", first = null, leave = [], rest = "More options" } = {}) {
  const names = Object.keys(schema.properties || {}).filter((name) => name !== "kind" && !leave.includes(name));
  const fields = new Map(names.map((name) => [name, field(schema.properties[name], name, `${pointer}/${name}`, root)]));
  const wide = (name) => fields.get(name).wide;
  const some = (wanted) => {
    const there = wanted.filter((name) => fields.has(name));
    return [h("div", { class: "fields" }, there.filter((name) => !wide(name)).map((name) => fields.get(name).element)),
      there.filter(wide).map((name) => fields.get(name).element)];
  };
  const shown = first || names;
  const hidden = names.filter((name) => !shown.includes(name));
  const element = h("div", {}, some(shown),
    hidden.length > 0 && h("details", { class: "rest" }, h("summary", {}, rest), some(hidden)));
  const read = () => {
    const value = {};
    for (const [name, one] of fields) {
      const given = one.read();
      if (given !== undefined) value[name] = given;
    }
    return value;
  };
  return { element, read };
}

/** Marks the fields of these errors of a problem; answers those that belong to none. */
export function mark(form, errors, prefix) {
  for (const one of form.querySelectorAll("[aria-invalid]")) one.removeAttribute("aria-invalid");
  for (const one of form.querySelectorAll(".fault[data-of]")) one.remove();
  return errors.filter((error) => {
    if (!error.pointer.startsWith(prefix)) return true;
    const control = form.querySelector(`[data-pointer="${CSS.escape(error.pointer.slice(prefix.length))}"]`);
    if (!control) return true;
    control.setAttribute("aria-invalid", "true");
    for (let place = control.closest("details"); place; place = place.parentElement.closest("details")) place.open = true;
    control.closest(".field")?.append(h("p", { class: "fault", data: { of: error.pointer } }, error.detail));
    return false;
  });
}

function field(schema, name, pointer, root) {
  const told = { description: schema.description, default: schema.default };
  const { inner, objects, plain, nullable } = choicesOf(schema, root);
  if (objects.length > 0) return choice(objects, plain, name, pointer, root, told, nullable);
  if (inner.properties) return nullable ? optional(inner, name, pointer, root, told) : group(inner, name, pointer, root, told);
  if (plain.length > 0) return simple({ ...inner, enum: plain }, name, pointer, told, nullable);
  return simple(inner, name, pointer, told, nullable);
}

/** What a value may be: `inner` without references and null, and of several the `objects`, and the `plain` names and numbers. */
export function choicesOf(schema, root) {
  const { inner, nullable } = withoutNull(schema, root);
  const choices = (inner.oneOf || inner.anyOf || []).map((one) => resolved(one, root));
  const objects = choices.flatMap((one) => (one.oneOf ? one.oneOf.map((deep) => resolved(deep, root)) : [one])).filter((one) => one.properties);
  const plain = inner.enum || choices.flatMap((one) => one.enum || (one.const !== undefined && !one.properties ? [one.const] : []));
  return { inner, objects, plain, nullable };
}

/** The options of the detector that a config's schema is about. */
export const detectorOf = (schema) => resolved(schema.properties.architecture.anyOf.find((one) => one.$ref), schema);

const resolved = (schema, root) => (schema.$ref ? resolved(root.$defs[schema.$ref.split("/").pop()], root) : schema);

function withoutNull(schema, root) {
  const some = schema.anyOf || schema.oneOf;
  const isNull = (one) => one.type === "null";
  if (some && some.some(isNull)) {
    const rest = some.filter((one) => !isNull(one));
    return { inner: rest.length === 1 ? resolved(rest[0], root) : { anyOf: rest }, nullable: true };
  }
  return { inner: schema.$ref ? resolved(schema, root) : schema, nullable: false };
}

let made = 0;

function labelled(name, control, told) {
  const id = `field-${(made += 1)}`;
  const sentence = (told.description || "").replaceAll("`", "");
  control.id = id;
  if (sentence) control.setAttribute("aria-describedby", `${id}-help`);
  return h("div", { class: "field" }, h("label", { for: id }, wordsOf(name)), control,
    sentence && h("span", { class: "help", id: `${id}-help` }, sentence));
}

/** One value. Left empty it is the default, which stands in the field as a hint. */
function simple(schema, name, pointer, told, nullable) {
  const data = { pointer };
  const hint = told.default === undefined || told.default === null ? (nullable ? "none" : "") : String(told.default);
  let control;
  let read;
  if (schema.enum || schema.type === "boolean") {
    const values = schema.enum || [true, false];
    const words = (value) => (value === true ? "yes" : value === false ? "no" : wordsOf(String(value)));
    const open = told.default === undefined || told.default === null;
    control = h("select", { data }, open && h("option", { value: "" }, nullable ? "automatic" : ""),
      values.map((value, place) => h("option", { value: place, selected: value === told.default }, words(value))));
    read = () => {
      const value = control.value === "" ? null : values[Number(control.value)];
      return value === (told.default ?? null) ? undefined : value;
    };
  } else if (schema.type === "integer" || schema.type === "number") {
    const bounds = { min: schema.minimum ?? schema.exclusiveMinimum, max: schema.maximum ?? schema.exclusiveMaximum };
    control = h("input", { type: "number", data, placeholder: hint, ...bounds, inputmode: "decimal",
      step: schema.multipleOf ?? (schema.type === "integer" ? 1 : "any") });
    read = () => (control.value === "" ? undefined : Number(control.value));
  } else if (schema.type === "array") {
    control = h("input", { data, placeholder: (told.default || []).join(", "), inputmode: "decimal" });
    read = () => {
      const parts = control.value.split(",").map((part) => part.trim()).filter(Boolean);
      return parts.length ? parts.map((part) => (Number.isNaN(Number(part)) ? part : Number(part))) : undefined;
    };
  } else {
    control = h("input", { data, placeholder: hint, maxlength: schema.maxLength });
    read = () => (control.value.trim() === "" ? undefined : control.value.trim());
  }
  return { element: labelled(name, control, told), read, wide: false };
}

function group(schema, name, pointer, root, told) {
  const inner = objectForm(schema, { root, pointer });
  const element = h("details", { class: "group" }, h("summary", {}, wordsOf(name)),
    told.description && h("p", { class: "quiet" }, told.description.replaceAll("`", "")), inner.element);
  const read = () => {
    const value = inner.read();
    return Object.keys(value).length ? value : undefined;
  };
  return { element, read, wide: true };
}

/** An object or nothing. */
function optional(schema, name, pointer, root, told) {
  const inner = objectForm(schema, { root, pointer });
  const box = h("input", { type: "checkbox", data: { pointer } });
  const place = h("div", {});
  box.addEventListener("change", () => fill(place, box.checked && inner.element));
  const element = h("div", { class: "field group" }, h("label", {}, box, wordsOf(name)),
    told.description && h("span", { class: "help" }, told.description.replaceAll("`", "")), place);
  return { element, read: () => (box.checked ? inner.read() : undefined), wide: true };
}

/** One of several objects, each with its options, or one of some bare names; the first is the default. */
function choice(objects, plain, name, pointer, root, told, nullable) {
  const kindOf = (one) => one.properties.kind?.const ?? one.title;
  const named = new Map(objects.map((one) => [kindOf(one), one]));
  const values = [...new Set([...plain, ...named.keys()])];
  const usual = told.default ?? (nullable ? "" : values[0]);
  const forms = new Map();
  const control = h("select", { data: { pointer } }, nullable && h("option", { value: "" }, "none"),
    values.map((value) => h("option", { value, selected: value === usual }, wordsOf(String(value)))));
  const whole = labelled(name, control, told);
  const options = h("div", {});
  const body = h("details", { class: "options" }, h("summary", {}, "Its options"), options);

  function show() {
    const schema = named.get(control.value);
    const more = schema && Object.keys(schema.properties).some((one) => one !== "kind");
    body.hidden = !more;
    // What is chosen tells of itself better than the sentence about the choice.
    const help = whole.querySelector(".help");
    if (help) help.textContent = (schema?.description || told.description || "").replaceAll("`", "");
    if (!more) return;
    if (!forms.has(control.value)) forms.set(control.value, objectForm(schema, { root, pointer }));
    fill(options, forms.get(control.value).element);
    // What has to be given is not hidden.
    if ((schema.required || []).some((one) => one !== "kind")) body.open = true;
  }

  control.addEventListener("change", show);
  show();
  const element = h("div", { class: "choice" }, whole, body);
  const read = () => {
    const given = forms.get(control.value)?.read() || {};
    if (control.value === usual && Object.keys(given).length === 0) return undefined;
    if (control.value === "") return null;
    const schema = named.get(control.value);
    if (!schema || (plain.includes(control.value) && Object.keys(given).length === 0)) return control.value;
    return schema.properties.kind ? { kind: control.value, ...given } : given;
  };
  return { element, read, wide: false };
}
