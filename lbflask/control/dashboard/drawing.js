// Formatting and charts of values; independent of their source.

const LEVELS = {
  up: "good", standby: "good", idle: "unknown", checking: "warn", unknown: "warn",
  down: "bad", ejected: "bad", draining: "calm", off: "calm",
};
const STATUSES = {
  ok: ["good", "All is well"],
  degraded: ["warn", "Degraded: the store is unreachable"],
  failing_open: ["warn", "Failing open: unhealthy backends serve"],
  partly_down: ["bad", "A pool has no backend that serves"],
  down: ["bad", "Down: no backend serves"],
};

export const levelOf = (state) => LEVELS[state] ?? "unknown";
export const statusOf = (status) => STATUSES[status] ?? ["unknown", status];

export function rate(value) {
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toFixed(1);
}

export function share(value) {
  if (value === null) return "-";
  return value === 0 ? "0 %" : value < 0.001 ? "< 0.1 %" : `${(value * 100).toFixed(1)} %`;
}

export function latency(seconds) {
  if (seconds === null) return "-";
  const milliseconds = seconds * 1000;
  if (milliseconds >= 1000) return `${seconds.toFixed(1)} s`;
  return `${milliseconds >= 10 ? Math.round(milliseconds) : milliseconds.toFixed(1)} ms`;
}

export function ago(seconds) {
  if (seconds < 2) return "just now";
  if (seconds < 60) return `${Math.round(seconds)} s ago`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86400)} days ago`;
}

export function duration(seconds) {
  if (seconds < 120) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

export function count(number, one, many) {
  return `${number} ${number === 1 ? one : many}`;
}

const SVG = "http://www.w3.org/2000/svg";

/** A sparkline of the latest values, scaled to the highest; hidden from screen readers, which read the number. */
export function spark(place, values) {
  let svg = place.firstChild;
  if (!svg) {
    svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 100 20");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    svg.append(document.createElementNS(SVG, "polygon"), document.createElementNS(SVG, "polyline"));
    place.append(svg);
  }
  const most = Math.max(...values, 1e-9);
  const step = values.length > 1 ? 100 / (values.length - 1) : 0;
  const points = values.map((value, place) => `${(place * step).toFixed(1)},${(19 - (value / most) * 18).toFixed(1)}`);
  const [area, line] = svg.children;
  line.setAttribute("points", points.join(" "));
  area.setAttribute("points", values.length > 1 ? `0,20 ${points.join(" ")} 100,20` : "");
}

/** Set text with `commands` in backticks, which become code; only if it changes. */
export function writeMarked(element, text) {
  if (element.textContent === text.replaceAll("`", "")) return;
  element.replaceChildren(...text.split("`").map((part, place) => {
    if (place % 2 === 0) return part;
    const code = document.createElement("code");
    code.textContent = part;
    return code;
  }));
}

/** Set text only if it changes, so that screen readers do not repeat it. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
