import "./layout.js";
import { $ } from "./dom.js";
import { kept, listing } from "./listing.js";
import { anyOpen, jobRow } from "./rows.js";

const form = $("filters");
const given = new URLSearchParams(location.search);
for (const field of form.elements) if (given.has(field.name)) field.value = given.get(field.name);
const query = () => Object.fromEntries(new FormData(form));
const turn = kept(listing("jobs", "/v1/jobs", jobRow, { query }), anyOpen);

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", () => {
  const chosen = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  history.replaceState(null, "", chosen.size ? `?${chosen}` : location.pathname);
  turn();
});
