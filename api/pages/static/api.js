// The REST routes, as everybody asks them; the session's cookie goes by itself.

/** What the service says went wrong (RFC 9457). */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || `HTTP ${status}`);
    this.status = status;
    this.code = body.code || "";
    this.errors = body.errors || [];
    this.hint = body.hint || null;
  }
}

/** A path with a query; what is null or empty is left out. */
export function path(base, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `${base}?${new URLSearchParams(given)}` : base;
}

/** The answer to a request. Throws a Problem; who is not signed in is sent to do so. */
export async function send(where, options = {}) {
  const { json, ...rest } = options;
  if (json !== undefined) {
    rest.body = JSON.stringify(json);
    rest.headers = { "Content-Type": "application/json", ...rest.headers };
  }
  const answer = await fetch(where, { credentials: "same-origin", ...rest });
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  if (answer.status === 401 && location.pathname !== "/sign-in") {
    location.replace(path("/sign-in", { next: location.pathname + location.search }));
    await new Promise(() => {}); // the page is being left
  }
  throw new Problem(answer.status, body);
}

/** The JSON of a request; null where there is no body. */
export async function ask(where, options = {}) {
  const answer = await send(where, options);
  return answer.status === 204 ? null : answer.json();
}

export const post = (where, json, headers = {}) => ask(where, { method: "POST", json, headers });

/** A key that makes a repeated POST harmless. */
export const onceKey = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
