// What every page has: whose it is, signing out, light and dark.
import { $, fill, h } from "./dom.js";
import { ask } from "./api.js";

const ORDER = ["", "light", "dark"];
const WORDS = { "": "as the system", light: "light", dark: "dark" };
const SIGNS = { "": "◐", light: "○", dark: "●" };

function showTheme() {
  const chosen = document.documentElement.dataset.theme || "";
  const button = $("theme");
  button.textContent = SIGNS[chosen];
  button.setAttribute("aria-label", `Colours: ${WORDS[chosen]}`);
  button.title = `Colours: ${WORDS[chosen]}`;
}

$("theme").addEventListener("click", () => {
  const next = ORDER[(ORDER.indexOf(document.documentElement.dataset.theme || "") + 1) % ORDER.length];
  if (next) document.documentElement.dataset.theme = next;
  else delete document.documentElement.dataset.theme;
  try {
    localStorage.setItem("theme", next);
  } catch {
    // kept for this page only
  }
  showTheme();
  window.dispatchEvent(new Event("theme"));
});
showTheme();

/** Whoever is signed in: the answer of /v1/me. */
export const me = document.body.dataset.page === "sign_in" ? Promise.resolve(null) : ask("/v1/me");

me.then((caller) => {
  if (!caller || !caller.key_id) return;
  fill($("account"), h("span", { class: "project", title: "Project" }, caller.project.name),
    h("button", { type: "button", class: "quiet", onclick: signOut }, "Sign out"));
}).catch(() => {});

async function signOut() {
  await fetch("/session", { method: "DELETE" });
  location.assign("/sign-in");
}
