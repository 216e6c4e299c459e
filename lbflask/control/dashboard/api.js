// Client of the API: documents, actions and the event stream.

const BASE = "api/v1";
const POLL_EVERY = 2000;
const STREAM_AGAIN_AFTER = 5000;

export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

let csrf = null;

export async function ask(method, path, body, etag) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && csrf) headers["X-CSRF-Token"] = csrf;
  if (etag) headers["If-Match"] = `"${etag}"`;
  const response = await fetch(BASE + path, {
    method, headers, credentials: "same-origin", cache: "no-store",
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const document = response.status === 204 ? null : await response.json().catch(() => null);
  if (!response.ok) throw new Refused(response.status, document?.detail ?? `the API answers ${response.status}`);
  return document;
}

/** The session; null if a token is required. */
export async function session() {
  try {
    const who = await ask("GET", "/session");
    csrf = who.csrf;
    return who;
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return null;
    throw error;
  }
}

export async function login(token) {
  const who = await ask("POST", "/session", { token });
  csrf = who.csrf;
  return who;
}

export async function logout() {
  await ask("DELETE", "/session");
  csrf = null;
}

/** Follow the fleet by a stream, or by polling where streams are rejected, as on a worker without concurrency. */
export function follow({ onState, onEvent, onSilence, onRefused }) {
  let source = null;
  let timer = null;
  let ended = false;

  function listen() {
    source = new EventSource(`${BASE}/stream`);
    source.addEventListener("state", (message) => onState(JSON.parse(message.data)));
    source.addEventListener("event", (message) => onEvent(JSON.parse(message.data)));
    source.onerror = () => {
      onSilence();
      if (source.readyState === EventSource.CLOSED && !ended) poll(Date.now() + STREAM_AGAIN_AFTER);
    };
  }

  async function poll(until) {
    try {
      onState(await ask("GET", "/state"));
    } catch (error) {
      if (error instanceof Refused && error.status === 401) return onRefused();
      onSilence();
    }
    if (ended) return;
    timer = setTimeout(() => (Date.now() > until ? listen() : poll(until)), POLL_EVERY);
  }

  listen();
  return () => {
    ended = true;
    clearTimeout(timer);
    source?.close();
  };
}
