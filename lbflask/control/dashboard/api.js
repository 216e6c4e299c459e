// Client of the API: documents, actions and the event stream.

const BASE = "api/v1";
const POLL_EVERY = 2000;
const STREAM_AGAIN_AFTER = 5000;
const ANSWERS_WITHIN = 8000; // also the silence after which a stream is opened anew, at a worker that is not frozen

export class Refused extends Error {
  constructor(status, detail, type = "") {
    super(detail);
    this.status = status;
    this.type = type;
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
    signal: method === "GET" ? AbortSignal.timeout(ANSWERS_WITHIN) : undefined, // a change may have been made
  });
  const document = response.status === 204 ? null : await response.json().catch(() => null);
  if (!response.ok) throw new Refused(response.status, document?.detail ?? `the API answers ${response.status}`, document?.type);
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
export function follow({ onState, onEvent, onSilence, onGap, onRefused }) {
  let source = null;
  let timer = null;
  let ended = false;

  function listen() {
    source = new EventSource(`${BASE}/stream`);
    source.addEventListener("state", (message) => {
      expectMore();
      onState(JSON.parse(message.data));
    });
    source.addEventListener("event", (message) => onEvent(JSON.parse(message.data)));
    source.onerror = () => {
      onSilence();
      if (source.readyState === EventSource.CLOSED && !ended) poll(Date.now() + STREAM_AGAIN_AFTER);
    };
    expectMore();
  }

  function expectMore() {
    clearTimeout(timer);
    timer = setTimeout(listenAnew, ANSWERS_WITHIN);
  }

  /** A frozen worker keeps its connections, so that no error ends the stream. */
  function listenAnew() {
    source.close();
    onSilence();
    listen();
    onGap();
  }

  async function poll(until) {
    clearTimeout(timer);
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
