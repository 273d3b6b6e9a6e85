// Figures of the API, drawn by Plotly under a policy that allows nothing inline.
import { h } from "./dom.js";
import { ask } from "./api.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 48rem)");
const drawn = new Map();
let loading = null;

/** Plotly, loaded once; null where the server has none. */
export function plotly() {
  loading ??= load();
  return loading;
}

async function load() {
  const source = document.documentElement.dataset.charts;
  if (!source) return null;
  // Plotly writes `style` attributes where it could set properties, which the policy forbids: they are set for it.
  const { setAttribute } = Element.prototype;
  Element.prototype.setAttribute = function set(name, value) {
    if (name === "style") this.style.cssText = value;
    else setAttribute.call(this, name, value);
  };
  // Its maps, which nobody draws here, bring a style element: it is not put in.
  const head = document.head;
  head.appendChild = (node) => (node.nodeName === "STYLE" ? node : Node.prototype.appendChild.call(head, node));
  try {
    await new Promise((done, fail) => {
      head.append(h("script", { src: source, onload: done, onerror: () => fail(new Error("The charts cannot be loaded.")) }));
    });
  } finally {
    delete head.appendChild;
  }
  return window.Plotly;
}

/** Draws a figure, or draws it anew. `words`: what it shows, for those who do not see it. */
export async function chart(place, figure, words) {
  drawn.set(place, { figure, words });
  const library = await plotly();
  if (!library) {
    place.replaceChildren(h("p", { class: "quiet" }, "This server has no charts; the tables tell the same."));
    return;
  }
  if (drawn.get(place)?.figure !== figure) return; // a newer one has come meanwhile
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", words);
  const copy = structuredClone(figure); // Plotly writes into what it is given
  for (const one of copy.data) if (one.texttemplate) one.textfont = { color: colours().ink, ...one.textfont };
  await library.react(place, copy.data, themed(copy.layout), { responsive: true, displayModeBar: false });
  place.removeAttribute("aria-busy");
}

/** Draws the figure that is at `where`; a place without one is hidden. */
export async function chartFrom(place, where, words) {
  try {
    await chart(place, await ask(where), words);
  } catch (problem) {
    place.removeAttribute("aria-busy");
    (place.closest("section") || place).hidden = true;
    if (problem.status !== 404 && problem.status !== 409) throw problem;
  }
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["ink", "quiet", "line", "raised"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

// Colours come from the page's own, so that light and dark need nothing of the figures.
function themed(layout) {
  const { ink, quiet, line, raised } = colours();
  const own = {
    ...layout,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: narrow.matches ? 11 : 13, color: ink },
    hoverlabel: { bgcolor: raised, bordercolor: line, font: { color: ink } },
    autosize: true,
  };
  for (const name of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
    own[name] = { gridcolor: line, zerolinecolor: line, linecolor: line, fixedrange: narrow.matches, ...layout[name] };
    own[name].tickfont = { color: quiet, ...layout[name].tickfont };
    if (layout[name].zerolinewidth) own[name].zerolinecolor = ink;
  }
  if (layout.coloraxis) own.coloraxis = { ...layout.coloraxis, showscale: !narrow.matches };
  if (layout.legend) own.legend = { ...layout.legend, bgcolor: "rgba(0,0,0,0)" };
  if (narrow.matches) own.margin = { ...layout.margin, l: 44, r: 8 };
  return own;
}

function again() {
  for (const [place, { figure, words }] of drawn) {
    if (place.isConnected) chart(place, figure, words);
    else drawn.delete(place);
  }
}

dark.addEventListener("change", again);
narrow.addEventListener("change", again);
window.addEventListener("theme", again);
