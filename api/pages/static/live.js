// The events of a job as they happen. A tab that nobody looks at holds no connection: a browser has six to a host.

const TYPES = ["queued", "started", "phase", "run", "checkpoint", "checkpoint_forgotten", "notice", "requeued", "cancel_requested",
  "pause_requested", "stop_requested", "paused", "resumed", "retried", "succeeded", "failed", "cancelled"];

const OVER = new Set(["job.succeeded", "job.failed", "job.cancelled"]);
const QUIET = 700; // milliseconds without a further event after one that ended the job; less than until a new connection

/** Follows a job until it has ended; `tell(event)` for each event, from the first. Answers `{open, close}`: `open` follows it anew. */
export function follow(jobId, tell) {
  let source = null;
  let last = 0;
  let ending = null;

  function open() {
    clearTimeout(ending);
    close();
    if (document.hidden) return;
    source = new EventSource(`/v1/jobs/${encodeURIComponent(jobId)}/events?after=${last}`);
    for (const type of TYPES) {
      source.addEventListener(`job.${type}`, (message) => {
        const event = JSON.parse(message.data);
        if (event.id <= last) return;
        last = event.id;
        clearTimeout(ending);
        if (OVER.has(event.type)) ending = setTimeout(close, QUIET);
        tell(event);
      });
    }
    // Refused, or over: the browser connects again by itself in every other case.
    source.addEventListener("error", () => source?.readyState === EventSource.CLOSED && close());
  }

  function close() {
    source?.close();
    source = null;
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  open();
  return { open, close };
}
