import "./layout.js";
import { $ } from "./dom.js";
import { send } from "./api.js";

/** Only a path of this service: never what another address is. */
function next() {
  const wanted = new URLSearchParams(location.search).get("next") || "/";
  const there = new URL(wanted, location.origin);
  return there.origin === location.origin && there.pathname !== "/sign-in" ? there.pathname + there.search : "/";
}

$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const fault = $("fault");
  fault.hidden = true;
  try {
    await send("/session", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ key: $("key").value }),
    });
    location.replace(next());
  } catch (problem) {
    fault.textContent = problem.code === "key_invalid" ? "This key is unknown, revoked or expired." : problem.message;
    fault.hidden = false;
    $("key").focus();
  }
});
$("key").focus();
