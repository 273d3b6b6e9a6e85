// Images of a list of the API as tiles, page by page; a tile opens the image large.
import { $, fill, h, say } from "./dom.js";
import { ask, path } from "./api.js";
import { viewer } from "./viewer.js";

/**
 * Fills the list `id`. `tile(item)`: what its button holds. `large(item)`: what the viewer shows. `wanted(item)`: whether
 * it is shown, where the API cannot tell. Answers what shows it anew.
 */
export function gallery(id, where, { query, tile, large, label, wanted = () => true, limit = 24 }) {
  const list = $(id);
  const more = $(`${id}-more`);
  let items = [];
  let asked = 0;

  async function load(after) {
    const mine = (asked += 1);
    try {
      let page = { has_more: true, last_id: after };
      const found = [];
      while (page.has_more && found.length < limit) {
        page = await ask(path(where, { ...query(), limit, after: page.last_id }));
        if (mine !== asked) return;
        found.push(...page.data.filter(wanted));
      }
      if (after === null) {
        items = [];
        fill(list);
      }
      for (const item of found) {
        const place = items.push(item) - 1;
        list.append(h("li", {}, h("button", { type: "button", class: "tile", "aria-label": label(item),
          onclick: () => viewer(items.length, place, (at) => large(items[at])) }, tile(item))));
      }
      $(`${id}-empty`).hidden = items.length > 0;
      more.hidden = !page.has_more;
      more.dataset.after = page.last_id;
    } catch (problem) {
      say(problem.message, "bad");
    }
  }

  more.querySelector("button").addEventListener("click", () => load(more.dataset.after));
  return () => load(null);
}
