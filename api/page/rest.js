// Requests to the REST API.

const UNAUTHORIZED = 401;
const BASE = new URL("api/v1/", document.baseURI);

/** A response with a problem document. */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail ?? document.title ?? `status ${status}`);
    this.status = status;
    this.kind = (document.type ?? "").split(":").pop();
  }
}

function address(path, parameters) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
  }
  return url;
}

/** The address of something below the REST API, for a link. */
export const link = (...segments) => new URL(segments.map(encodeURIComponent).join("/"), BASE).href;

/** Called when a request is refused because nobody is signed in; the page sets it. */
export const access = { refused: () => {} };

/** Sends `body` to `path`, or nothing with another method, and returns the decoded answer. */
export async function send(method, path, body, more = {}) {
  const headers = { Accept: "application/json", "Content-Type": "application/json", ...more };
  const response = await fetch(address(path, {}), { method, headers, body: body && JSON.stringify(body) });
  if (response.ok) return response.json();
  throw new Problem(response.status, await response.json().catch(() => ({})));
}

/** The decoded body of `GET path`; `accepted` are further statuses that have one. */
export async function get(path, parameters = {}, { signal, accepted = [] } = {}) {
  const response = await fetch(address(path, parameters), { signal, headers: { Accept: "application/json" } });
  if (response.ok || accepted.includes(response.status)) return response.json();
  if (response.status === UNAUTHORIZED) access.refused();
  throw new Problem(response.status, await response.json().catch(() => ({})));
}

/** Calls `use` with the answer of `GET path` every `seconds`, while the page is visible; `stop()` ends it. */
export function poll(path, parameters, seconds, use, { accepted = [], failed = () => {} } = {}) {
  let timer = null;
  const control = new AbortController();
  async function ask() {
    if (!document.hidden) {
      try {
        use(await get(path, parameters, { signal: control.signal, accepted }));
      } catch (error) {
        if (!control.signal.aborted) failed(error);
      }
    }
    if (!control.signal.aborted) timer = setTimeout(ask, seconds * 1000);
  }
  ask();
  return {
    stop() {
      control.abort();
      clearTimeout(timer);
    },
  };
}
