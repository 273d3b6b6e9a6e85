// A large file in parts, by tus 1.0: what was cut off goes on where it stopped, also after the page was left.
import { h, say } from "./dom.js";
import { Problem, ask, onceKey, send } from "./api.js";
import { bytes, duration, meter } from "./format.js";

const PART = 16 * 1024 * 1024;
const WAITS = [1, 2, 4, 8, 15, 30]; // seconds between attempts
const VERSION = { "Tus-Resumable": "1.0.0" };

/**
 * Uploads a file and makes a dataset of it, told of in an item of `list`; resolves to the dataset, or null if it
 * was given up. `options`: fields of the dataset.
 */
export async function upload(file, options, list) {
  const stop = new AbortController();
  const bar = h("div", {});
  const words = h("span", { class: "quiet" });
  const item = h("li", {}, h("strong", {}, file.name),
    h("button", { type: "button", class: "quiet", onclick: () => stop.abort() }, "Give up"), bar, words);
  list.append(item);
  const begun = performance.now();
  let from = null;
  const told = (sent) => {
    from ??= sent;
    const rate = (sent - from) / ((performance.now() - begun) / 1000);
    bar.replaceChildren(meter(sent / file.size, `Upload of ${file.name}`));
    words.textContent = `${bytes(sent)} of ${bytes(file.size)}` +
      (rate > 0 && sent < file.size ? `, ${duration((file.size - sent) / rate)} left` : "");
  };
  try {
    const where = await place(file, stop.signal);
    await parts(file, where, told, stop.signal);
    words.textContent = "checking …";
    const dataset = await ask("/v1/datasets", {
      method: "POST",
      json: { ...options, upload_id: where.split("/").pop() },
      headers: { "Idempotency-Key": onceKey() },
    });
    forget(file);
    item.remove();
    return dataset;
  } catch (problem) {
    if (stop.signal.aborted) {
      const where = remembered(file);
      forget(file);
      if (where) await fetch(where, { method: "DELETE", headers: VERSION }).catch(() => {});
      item.remove();
      return null;
    }
    words.className = "fault";
    words.textContent = problem.message;
    say(`${file.name}: ${problem.message}`, "bad");
    return null;
  }
}

/** Where the upload of this file is: one that was cut off, or a new one. */
async function place(file, signal) {
  const before = remembered(file);
  if (before) {
    const answer = await fetch(before, { method: "HEAD", headers: VERSION, signal });
    if (answer.ok) return before;
    forget(file);
  }
  const name = btoa(String.fromCharCode(...new TextEncoder().encode(file.name)));
  const answer = await send("/v1/uploads", {
    method: "POST",
    headers: { ...VERSION, "Upload-Length": String(file.size), "Upload-Metadata": `filename ${name}` },
    signal,
  });
  const where = answer.headers.get("Location");
  remember(file, where);
  return where;
}

async function parts(file, where, told, signal) {
  let failures = 0;
  let offset = null;
  while (offset !== file.size) {
    try {
      if (offset === null) {
        const answer = await send(where, { method: "HEAD", headers: VERSION, signal });
        offset = Number(answer.headers.get("Upload-Offset"));
        told(offset);
        continue;
      }
      offset = await part(file, where, offset, told, signal);
      failures = 0;
    } catch (problem) {
      if (signal.aborted || (problem instanceof Problem && ![409, 423, 429, 460, 500, 503, 408].includes(problem.status)))
        throw problem;
      if (failures === WAITS.length) throw problem;
      await new Promise((done) => setTimeout(done, 1000 * WAITS[failures]));
      failures += 1;
      offset = null; // the server knows what has arrived
    }
  }
  told(file.size);
}

/** Sends one part; fetch does not tell how far it is, XMLHttpRequest does. */
function part(file, where, offset, told, signal) {
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest();
    request.open("PATCH", where);
    request.setRequestHeader("Tus-Resumable", "1.0.0");
    request.setRequestHeader("Upload-Offset", String(offset));
    request.setRequestHeader("Content-Type", "application/offset+octet-stream");
    request.upload.addEventListener("progress", (event) => told(offset + event.loaded));
    request.addEventListener("load", () => {
      if (request.status === 204) return done(Number(request.getResponseHeader("Upload-Offset")));
      let body = {};
      try {
        body = JSON.parse(request.responseText);
      } catch {
        // not from the service itself
      }
      return fail(new Problem(request.status, body));
    });
    request.addEventListener("error", () => fail(new Error("The connection broke.")));
    request.addEventListener("abort", () => fail(new Error("Given up.")));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(file.slice(offset, offset + PART));
  });
}

const keyOf = (file) => `upload ${file.name} ${file.size} ${file.lastModified}`;

function remembered(file) {
  try {
    return localStorage.getItem(keyOf(file));
  } catch {
    return null;
  }
}

function remember(file, where) {
  try {
    localStorage.setItem(keyOf(file), where);
  } catch {
    // it cannot go on after the page is left, that is all
  }
}

function forget(file) {
  try {
    localStorage.removeItem(keyOf(file));
  } catch {
    // nothing was kept
  }
}
