// One image large, in a dialog, with its neighbours by the arrow keys.
import { fill, h } from "./dom.js";

/** Opens at `place` of `count`. `show(place)`: what is seen then: `{title, content, note}`, or a promise of it. */
export function viewer(count, place, show) {
  const title = h("h2", { id: "viewer-title" });
  const stage = h("div", { class: "stage" });
  const note = h("div", { class: "note" });
  const back = h("button", { type: "button", "aria-label": "Previous image", onclick: () => go(-1) }, "←");
  const next = h("button", { type: "button", "aria-label": "Next image", onclick: () => go(1) }, "→");
  const dialog = h("dialog", { class: "viewer", tabindex: -1, "aria-labelledby": "viewer-title" },
    h("div", { class: "head" }, title, h("div", { class: "actions" }, back, next,
      h("button", { type: "button", onclick: () => dialog.close() }, "Close"))),
    stage, note);
  let asked = 0;

  async function draw() {
    const mine = (asked += 1);
    back.disabled = place <= 0;
    next.disabled = place >= count - 1;
    // A button that becomes disabled takes the focus with it, and with that the keys.
    if (!dialog.contains(document.activeElement) || document.activeElement.disabled) dialog.focus();
    const shown = await show(place);
    if (mine !== asked) return;
    fill(title, shown.title);
    fill(stage, shown.content);
    fill(note, shown.note);
  }

  function go(step) {
    const wanted = place + step;
    if (wanted < 0 || wanted >= count) return;
    place = wanted;
    draw();
  }

  dialog.addEventListener("keydown", (event) => {
    if (event.target.matches("input, select")) return;
    if (event.key === "ArrowLeft") go(-1);
    if (event.key === "ArrowRight") go(1);
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  draw();
}
