// The page: shows the state of the API and confirms each change.

import { ask, follow, login, logout, Refused, session } from "./api.js";
import { clearFindings, drawFindings } from "./findings.js";
import { ago, count, duration, latency, levelOf, rate, share, spark, statusOf, write } from "./drawing.js";

const HISTORY = 60;
const MOST_EVENTS = 100;
const STALE_AFTER = 5;
const OVERLOOKED = { ejected: "ejections", unchecked: "missing checks", all: "all failures" };
const LAST_SERVING = "urn:lbflask:last-serving-backend";

const $ = (id) => document.getElementById(id);
const history = new Map(); // the latest rates, by pool and backend
const known = new Map(); // the latest view of each backend, by pool and id
const seen = new Set(); // ids of shown events
let unfollow = null;
let heard = 0; // time of the latest data, by this browser's clock
let latest = null;

async function begin() {
  let who;
  try {
    who = await session();
  } catch (error) {
    show("fleet", false);
    return alarm("bad", `The API rejects this page: ${error.message}`);
  }
  if (!who) return askForToken();
  document.body.classList.toggle("reader", who.role !== "operator");
  write($("who-name"), who.role === "operator" ? who.name : `${who.name} (read-only)`);
  show("who", true);
  show("logout", who.csrf !== null);
  show("login", false);
  show("fleet", true);
  await firstEvents();
  unfollow?.();
  unfollow = follow({ onState: draw, onEvent: showEvent, onSilence: refresh, onGap: firstEvents, onRefused: askForToken });
}

function askForToken() {
  unfollow?.();
  unfollow = null;
  latest = null;
  show("fleet", false);
  show("who", false);
  show("banner", false);
  clearFindings();
  show("login", true);
  setStatus("unknown", "Not logged in");
  write($("fresh"), "");
  $("token").focus();
}

$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  write($("login-error"), "");
  try {
    await login($("token").value);
    $("token").value = "";
    await begin();
    $("main").focus();
  } catch (error) {
    write($("login-error"), error.status === 401 ? "Invalid token." : error.message);
    $("token").select();
  }
});

$("logout").addEventListener("click", async () => {
  await logout().catch(() => {});
  askForToken();
});

async function firstEvents() {
  try {
    const page = await ask("GET", "/events?limit=50");
    page.events.reverse().forEach(showEvent);
  } catch {
    // The state has the reason.
  }
}

function draw(state) {
  latest = state;
  heard = Date.now();
  const { fleet, pools } = state;
  const backends = pools.flatMap((pool) => pool.backends);
  const serving = backends.filter((backend) => backend.serving).length;
  const own = fleet.local; // null while the figures of the fleet are current
  const answers = own ? own.answers : fleet.answers;
  write($("total-rate"), own ? "unknown" : rate(fleet.requests_per_second));
  spark($("total-spark"), own ? [] : remembered("", fleet.requests_per_second));
  write($("total-rate-more"), own ? `${rate(own.requests_per_second)} at the worker that answers` : "");
  write($("total-flight"), own ? "unknown" : fleet.in_flight.toLocaleString("en"));
  write($("total-flight-more"), own ? `${own.in_flight.toLocaleString("en")} at the worker that answers` : "");
  write($("total-errors"), own ? "unknown" : share(answers.error_share));
  write($("answers-title"), own ? "What clients of the worker that answers got" : "What clients got");
  drawAnswers(answers);
  drawBans(state.bans, fleet.at);
  write($("total-serving"), `${serving} of ${backends.length}`);
  write($("total-workers"), own ? "unknown" : ofExpected(fleet.instances));
  write($("total-instances"), own ? asOf(fleet) : `in ${count(fleet.instances.filter((one) => one.workers.length).length, "instance", "instances")}`);
  write($("answered"), `Answered by ${fleet.answered_by}.`);
  drawStatus(fleet.status, backends, state.findings);
  document.title = `${serving}/${backends.length} ${state.findings.length ? `⚠ ${state.findings[0].check}` : "serve"} · lbflask`;
  pools.forEach(drawPool);
  for (const card of $("pools").children) if (!pools.some((pool) => pool.name === card.dataset.pool)) card.remove();
  drawInstances(fleet.instances);
  drawFindings(state.findings, fleet.stale ? `This page shows the last known state (${asOf(fleet)}); figures of backends are those of the worker that answers. Changes are not possible meanwhile.` : "");
  refresh();
}

/** The state of the fleet in a few words; where all pools serve, the number of what needs attention. */
function drawStatus(status, backends, findings) {
  const [level, words] = statusOf(status);
  const trouble = backends.filter((backend) => levelOf(backend.state) === "bad").length;
  const grave = findings.length > 0 && findings[0].level === "bad";
  if (level !== "good") setStatus(level, words);
  else if (trouble && !grave) setStatus("warn", `${count(trouble, "backend needs", "backends need")} attention`);
  else if (findings.length) setStatus(grave ? "bad" : "warn", `${count(findings.length, "finding needs", "findings need")} attention`);
  else setStatus(level, words);
}

function asOf(fleet) {
  return fleet.as_of === null ? "never read" : `last figures ${ago(Math.max(0, fleet.at - fleet.as_of))}`;
}

/** What clients got, by class, and the causes of errors and of answers that no backend gave. */
function drawAnswers(answers) {
  const classes = Object.entries(answers.by_class).map(([name, perSecond]) => `${name} ${rate(perSecond)}/s`);
  write($("answers-classes"), classes.length ? classes.join(" · ") : "No answers in the last ten seconds.");
  show("answers-table", answers.causes.length > 0);
  const rows = answers.causes.map((one) => [
    one.status, one.cause.replaceAll("_", " "), one.name || "-", rate(one.per_second), share(one.per_second / answers.per_second),
  ]);
  fill($("answers-causes"), rows, 3);
}

/** The newest bans; nothing without any. */
function drawBans(bans, now) {
  show("bans", bans.count > 0);
  const rows = bans.newest.map((one) => [
    one.network, one.rule ? `rule ${one.rule}` : one.who, one.reason || "-", duration(one.until - now),
  ]);
  fill($("bans-newest"), rows, 3);
  const hidden = bans.count - rows.length;
  write($("bans-more"), hidden > 0 ? `and ${count(hidden, "earlier ban", "earlier bans")}: lbflask bans` : "");
}

function setStatus(level, words) {
  $("status").dataset.level = level;
  write($("status-text"), words);
}

function remembered(key, value) {
  const values = history.get(key) ?? [];
  values.push(value);
  if (values.length > HISTORY) values.shift();
  history.set(key, values);
  return values;
}

function drawPool(pool) {
  let card = [...$("pools").children].find((one) => one.dataset.pool === pool.name);
  if (!card) {
    card = $("pool-template").content.firstElementChild.cloneNode(true);
    card.dataset.pool = pool.name;
    card.querySelector("h2").id = `pool-${pool.name}`;
    card.setAttribute("aria-labelledby", `pool-${pool.name}`);
    write(card.querySelector("caption"), `Backends of the pool ${pool.name}`);
    $("pools").append(card);
  }
  write(card.querySelector("h2"), pool.name);
  const checker = pool.checker.silent ? "no checker" : `checked by ${pool.checker.leader || "no leader at the moment"}`;
  const overlooks = pool.overlooks ? `, failing open: ignoring ${OVERLOOKED[pool.overlooks]}` : "";
  const about = `${pool.strategy.replaceAll("_", " ")}, ${pool.serving} of ${pool.backends.length} serve${overlooks}, ${checker}`;
  write(card.querySelector(".pool-about"), about);
  const removed = card.querySelector(".removed");
  removed.hidden = pool.removed.length === 0;
  write(removed, `Removed by operators: ${pool.removed.map((id) => id + noteOf(pool.removal_notes[id])).join(", ")}`);
  const body = card.querySelector("tbody");
  const rows = new Map([...body.children].map((row) => [row.dataset.backend, row]));
  pool.backends.forEach((backend, place) => {
    const row = rows.get(backend.id) ?? newRow(pool.name, backend.id);
    rows.delete(backend.id);
    if (body.children[place] !== row) body.insertBefore(row, body.children[place] ?? null);
    drawBackend(row, backend);
  });
  for (const row of rows.values()) row.remove();
}

function noteOf(note) {
  return note ? ` (by ${note.who} since ${new Date(note.at * 1000).toLocaleString()}${note.reason && `: ${note.reason}`})` : "";
}

function newRow(pool, id) {
  const row = $("backend-template").content.firstElementChild.cloneNode(true);
  row.dataset.backend = id;
  row.querySelector(".name").textContent = id;
  for (const button of row.querySelectorAll("button")) {
    button.setAttribute("aria-label", `${button.textContent} ${id}`);
    button.addEventListener("click", () => confirmAct(button.dataset.act, known.get(`${pool} ${id}`), button));
  }
  return row;
}

function drawBackend(row, backend) {
  known.set(`${backend.pool} ${backend.id}`, backend);
  const put = (selector, text) => write(row.querySelector(selector), text);
  put(".url", backend.backup ? `${backend.url}, backup` : backend.url);
  const state = row.querySelector(".state");
  state.dataset.level = levelOf(backend.state);
  state.dataset.state = backend.state;
  put(".word", backend.state);
  put(".reason", backend.state === "up" && !backend.ejection && !backend.overridden ? "" : backend.reason);
  put(".rate", rate(backend.requests_per_second));
  spark(row.querySelector(".spark"), remembered(`${backend.pool} ${backend.id}`, backend.requests_per_second));
  put(".flight", backend.in_flight.toLocaleString("en"));
  put(".errors", share(backend.error_share));
  put(".p50", latency(backend.p50));
  put(".p99", latency(backend.p99));
  put(".weight", backend.weight === backend.usual_weight ? String(backend.weight) : `${backend.weight} (configured ${backend.usual_weight})`);
  row.querySelector('[data-act="drain"]').hidden = backend.mode !== "serving";
  row.querySelector('[data-act="enable"]').hidden = backend.mode === "serving";
}

function drawInstances(instances) {
  const rows = instances.map((one) => {
    const unknown = one.workers.some((worker) => worker.requests_per_second === null);
    const rates = one.workers.reduce((sum, worker) => sum + worker.requests_per_second, 0);
    return [one.name, unknown ? "unknown" : stateOf(one), one.version.join(", "), one.config.join(", "), ofExpected([one]), unknown ? "unknown" : rate(rates)];
  });
  fill($("instances"), rows, 4);
}

/** Make the rows of a table those of the texts; from the column `numbers` on they are numbers. */
function fill(body, rows, numbers) {
  while (body.children.length > rows.length) body.lastChild.remove();
  rows.forEach((values, place) => {
    const row = body.children[place] ?? body.insertRow();
    values.forEach((value, column) => {
      const cell = row.cells[column] ?? row.insertCell();
      if (column >= numbers) cell.className = "number";
      write(cell, value);
    });
  });
}

/** How many workers serve, of how many that should. */
function ofExpected(instances) {
  const sum = (numberOf) => instances.reduce((total, one) => total + numberOf(one), 0);
  const serving = sum((one) => one.workers.length);
  const expected = sum((one) => one.expected_workers ?? one.workers.length);
  return expected === serving ? String(serving) : `${serving} of ${expected}`;
}

function stateOf(instance) {
  if (!instance.workers.length && instance.silent_workers.length) return "silent";
  if (instance.stopping) return "stopping";
  if (!instance.drain) return "serves";
  const until = new Date(instance.drain.until * 1000).toLocaleString();
  const reason = instance.drain.reason && `: ${instance.drain.reason}`;
  return `${instance.workers.length ? "draining" : "drained, does not run"}, by ${instance.drain.who} until ${until}${reason}`;
}

const SENTENCES = {
  drain: "is draining", enable: "is enabled", off: "is off", weight: "has a new weight", add: "was added",
  remove: "was removed", uneject: "is no longer ejected", found: "was discovered", gone: "left discovery", reload: "has reloaded its configuration", leads: "has a new leading checker",
  unusual: "gives clients unusual errors", usual: "gives clients what is usual again",
  ban: "bans", unban: "ends the ban of",
  instance_drain: "has an instance that drains", instance_undrain: "has an instance back", returned: "is back",
};

const NAMED = new Set(["operator", "leader", "ban"]); // events whose actor matters

function showEvent(event) {
  if (seen.has(event.id)) return;
  seen.add(event.id);
  const item = document.createElement("li");
  const time = document.createElement("time");
  const at = new Date(event.at * 1000);
  time.dateTime = at.toISOString();
  time.title = at.toLocaleString();
  const today = at.toDateString() === new Date().toDateString();
  time.textContent = today ? at.toLocaleTimeString([], { hour12: false }) : at.toLocaleDateString();
  const what = document.createElement("span");
  what.className = "what";
  what.textContent = `${event.backend || event.pool || "fleet"} ${SENTENCES[event.what] ?? `is ${event.what}`}`;
  const more = document.createElement("span");
  more.className = "more";
  more.textContent = ` ${[event.reason, NAMED.has(event.kind) && `by ${event.who}`].filter(Boolean).join(", ")}`;
  const words = document.createElement("span");
  words.append(what, more);
  item.append(time, words);
  $("events").prepend(item);
  while ($("events").children.length > MOST_EVENTS) $("events").lastChild.remove();
  $("no-events").hidden = true;
}

const QUESTIONS = {
  drain: (one) => [`Drain ${one.id}?`, `No instance sends it new requests. ${count(one.in_flight, "request", "requests")} in flight and sticky sessions continue.`, "Drain"],
  enable: (one) => [`Enable ${one.id}?`, "All instances send it requests again once its checks succeed.", "Enable"],
  weight: (one) => [`Weight of ${one.id}`, `Its share relative to the others, on all instances. Configured: ${one.usual_weight}; 0 means no requests.`, "Set weight"],
};

/** Ask for confirmation; again, with `warning`, before the last serving backend of a pool is taken out. */
function confirmAct(act, backend, button, warning = "", entered = { weight: backend.weight, reason: "" }) {
  const [title, text, yes] = QUESTIONS[act](backend);
  write($("ask-title"), title);
  write($("ask-text"), text);
  write($("ask-yes"), warning ? `${yes} all the same` : yes);
  write($("ask-error"), warning);
  $("reason").value = entered.reason;
  show("ask-weight", act === "weight");
  $("weight").required = act === "weight";
  $("weight").value = String(entered.weight);
  const dialog = $("ask");
  dialog.returnValue = "";
  dialog.onclose = async () => {
    button.focus();
    if (dialog.returnValue !== "yes") return;
    const values = { weight: Number($("weight").value), reason: $("reason").value.trim() };
    const refused = await carryOut(act, backend, values, warning !== "");
    if (refused) confirmAct(act, backend, button, `${refused[0].toUpperCase()}${refused.slice(1)}.`, values);
  };
  dialog.showModal();
  if (act === "weight") $("weight").select();
}

/** Returns why it was refused, if that can be forced. */
async function carryOut(act, backend, { weight, reason }, force) {
  const path = `/pools/${encodeURIComponent(backend.pool)}/backends/${encodeURIComponent(backend.id)}/${act}`;
  try {
    const forced = act !== "enable" && { force };
    const done = act === "weight" ? await ask("PUT", path, { weight, reason, ...forced }, backend.etag) : await ask("POST", path, { reason, ...forced }, backend.etag);
    announce(done.changed ? `Done: ${backend.id} ${act === "weight" ? `has weight ${weight}` : SENTENCES[act]}.` : `Nothing to change: ${backend.id} is in that state.`);
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return askForToken();
    if (error.type === LAST_SERVING && !force) return error.message;
    announce(error.status === 412 ? `${backend.id} was changed by someone else meanwhile. Check its state.` : `Nothing was changed: ${error.message}`);
  }
}

let announcing = null;
function announce(text) {
  write($("said"), text);
  clearTimeout(announcing);
  announcing = setTimeout(() => write($("said"), ""), 6000);
}

/** Show the age of the data, and an alert if it is too old or stale. */
function refresh() {
  if (!latest) return;
  const age = (Date.now() - heard) / 1000;
  write($("fresh"), `updated ${ago(age)}`);
  const lost = age > STALE_AFTER;
  document.body.classList.toggle("stale", lost || latest.fleet.stale);
  if (lost) alarm("bad", `No data from the balancer since ${new Date(heard).toLocaleTimeString([], { hour12: false })}: this view may be outdated. Reconnecting.`);
  else show("banner", false);
}

function alarm(level, text) {
  $("banner").dataset.level = level;
  write($("banner"), text);
  show("banner", true);
}

function show(id, shown) {
  $(id).hidden = !shown;
}

setInterval(refresh, 1000);
begin();
