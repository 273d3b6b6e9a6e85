// Boxes over an image, as SVG in the image's own pixels: sharp at every size, and each can be pointed at.
import { h, svg } from "./dom.js";

/** Told apart also by most who do not see all colours; those of the figures. */
export const COLOURS = ["#3987d9", "#e0652a", "#1fa187", "#b875c8", "#c9a227", "#56b4e9", "#d64a6b", "#8a8f98"];
export const WRONG = "#e5484d";

/** The colour of a class, by its place among the classes. */
export const colourOf = (ids) => {
  const places = new Map(ids.map((id, place) => [id, place]));
  return (id) => COLOURS[(places.get(id) ?? ids.length) % COLOURS.length];
};

/**
 * An image with boxes over it.
 *
 * `boxes`: `{box: [x1, y1, x2, y2], colour, label, dashed, hidden}` in pixels of an image of `width` x `height`; a
 * box may reach beyond it. `labels`: whether they are written, or told by pointing only.
 */
export function boxed({ src, width, height, boxes, alt, labels = true }) {
  const size = Math.max(width, height);
  const shapes = svg("g", {}, boxes.map((one) => shape(one, size, labels)));
  const layer = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true", class: "boxes" }, shapes);
  const image = h("img", { src, alt, width, height, loading: "lazy", decoding: "async" });
  return h("div", { class: "boxed", style: { "--ratio": width / height } }, image, layer);
}

function shape({ box, colour, label, dashed = false, strong = false }, size, labels) {
  const [x1, y1, x2, y2] = box;
  const unit = size / 100;
  const drawn = svg("rect", {
    x: Math.min(x1, x2), y: Math.min(y1, y2), width: Math.abs(x2 - x1), height: Math.abs(y2 - y1),
    fill: colour, "fill-opacity": strong ? 0.22 : 0.08, stroke: colour, "stroke-width": strong ? 3 : 2,
    "stroke-dasharray": dashed ? "6 4" : null, "vector-effect": "non-scaling-stroke",
  });
  const written = labels && label && svg("g", {},
    svg("rect", { x: x1, y: Math.max(0, y1 - 3 * unit), width: unit * (1.5 * label.length + 1.2), height: 3 * unit, fill: colour, rx: 0.4 * unit }),
    svg("text", { x: x1 + 0.6 * unit, y: Math.max(0, y1 - 3 * unit) + 2.2 * unit, "font-size": 2.3 * unit, fill: "#fff", class: "tag" }, label));
  return svg("g", {}, label && svg("title", {}, label), drawn, written);
}

/** A list of words with the colour each stands for. */
export const legend = (entries) =>
  h("ul", { class: "legend" }, entries.map(([words, colour, dashed]) =>
    h("li", {}, h("span", { class: dashed ? "key dashed" : "key", style: { "--key": colour } }), words)));
