// Buttons that ask something of a job, a comparison or a search.
import { h, say } from "./dom.js";
import { ask } from "./api.js";

const ALL = {
  pause: ["Pause", ["queued", "running"]],
  resume: ["Resume", ["paused"]],
  retry: ["Retry", ["failed", "cancelled"]],
  cancel: ["Cancel", ["queued", "running", "paused"]],
};

/** Of what has this status and this request: what may be asked of it now. `then`: called when it was. */
export function actions(base, { status, requested_action: requested }, then) {
  return Object.entries(ALL)
    .filter(([, [, from]]) => from.includes(status))
    .map(([action, [words]]) => h("button", {
      type: "button", class: action === "cancel" ? "danger" : "", disabled: requested === action,
      onclick: async () => {
        if (action === "cancel" && !confirm("Cancel it, with all that it has begun?")) return;
        try {
          await ask(`${base}/${action}`, { method: "POST" });
          then();
        } catch (problem) {
          say(problem.message, "bad");
        }
      },
    }, requested === action ? `${words} …` : words));
}
