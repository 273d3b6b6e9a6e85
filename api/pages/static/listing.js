// A table of one of the lists of the API, page by page.
import { $, fill, h, say } from "./dom.js";
import { ask, path } from "./api.js";

/**
 * Fills the table `id` with a list.
 *
 * `row`: cells of one item; a `td` stays as it is, anything else becomes one. `query`: read at each refresh. `limit`:
 * with `whole` false this is all that is shown. Answers what shows it anew, which resolves to the items.
 */
export function listing(id, where, row, { query = () => ({}), limit = 25, whole = true, onfill = null } = {}) {
  const table = $(id);
  const body = table.tBodies[0];
  const more = $(`${id}-more`);
  let last = null;
  let asked = 0;

  const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent);

  // Each cell with the words of its column, for a narrow screen, where a row is a card.
  const made = (item) => h("tr", { data: { id: item.id } }, row(item).map((cell, place) => {
    const whole = cell instanceof HTMLTableCellElement ? cell : h("td", {}, cell);
    whole.dataset.label = heads[place];
    return whole;
  }));

  async function load(after, most) {
    const mine = (asked += 1);
    let page;
    try {
      page = await ask(path(where, { ...query(), limit: most, after }));
    } catch (problem) {
      if (mine === asked) {
        table.removeAttribute("aria-busy");
        fill(body);
        say(problem.message, "bad");
      }
      return [];
    }
    if (mine !== asked) return []; // asked anew meanwhile
    const rows = page.data.map(made);
    if (after) body.append(...rows);
    else fill(body, rows);
    last = page.last_id;
    table.removeAttribute("aria-busy");
    table.hidden = body.rows.length === 0;
    $(`${id}-empty`).hidden = body.rows.length > 0;
    more.hidden = !whole || !page.has_more;
    if (onfill) onfill(page.data);
    return page.data;
  }

  more.querySelector("button").addEventListener("click", () => load(last, limit));
  return () => load(null, Math.min(100, Math.max(limit, body.querySelectorAll("tr[data-id]").length)));
}

/** A cell with a number. */
export const numeric = (...content) => h("td", { class: "number" }, ...content);

/** Calls `refresh` every few seconds while the page is looked at and `live` says that something goes on. */
export function kept(refresh, live, seconds = 4) {
  let timer = null;
  const turn = async () => {
    clearTimeout(timer);
    const items = document.hidden ? null : await refresh();
    const soon = items === null || live(items);
    timer = setTimeout(turn, 1000 * (soon ? seconds : 10 * seconds));
  };
  document.addEventListener("visibilitychange", () => !document.hidden && turn());
  turn();
  return turn;
}
