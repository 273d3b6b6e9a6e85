// Elements made without markup: whatever a text holds, it stays a text.

/** An element. `properties`: attributes, `on…` listeners, `class`, `data`, `style` (an object); null leaves one out. */
export function h(tag, properties = {}, ...children) {
  return dressed(document.createElement(tag), properties, children);
}

/** An element of SVG. */
export function svg(tag, properties = {}, ...children) {
  return dressed(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function dressed(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    else if (name === "data") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** The element of this id. */
export const $ = (id) => document.getElementById(id);

/** Puts these in the place of what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

/** Tells something shortly, aloud to who does not see it. */
export function say(words, kind = "") {
  const one = h("p", { class: `toast ${kind}` }, words);
  $("said").append(one);
  setTimeout(() => one.remove(), kind === "bad" ? 12000 : 5000);
}

/** The last step of this page's path: the id of what it shows. */
export const shownId = () => decodeURIComponent(location.pathname.split("/").pop());
