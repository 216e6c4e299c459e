// What `lbflask doctor` finds without connects to backends: the first finding is the headline of the page, the others
// are a list below it, each with its remedy.

import { write, writeMarked } from "./drawing.js";

const MOST_OTHERS = 11;
const KINDS = { bad: "Incident", warn: "Needs attention" };

const $ = (id) => document.getElementById(id);
let spoken = { words: "", grave: false };

const levelOf = (finding) => (finding.level === "bad" ? "bad" : "warn");
const textOf = (finding) => `${finding.check}: ${finding.finding}`;

/** The words of a finding without its figures, which change each second. */
const wordsOf = (finding) => textOf(finding).replace(/\d[\d.,]*/g, "#");

/** `note` is what else a reader must know of the view, such as its age; empty for nothing. */
export function drawFindings(findings, note) {
  const [first, ...others] = findings;
  $("findings").hidden = !first;
  announce(first);
  if (!first) return;
  $("findings").dataset.level = levelOf(first);
  write($("findings-kind"), KINDS[levelOf(first)]);
  writeMarked($("findings-title"), textOf(first));
  writeMarked($("findings-remedy"), first.advice);
  write($("findings-note"), note);
  drawOthers(others);
}

function drawOthers(others) {
  const list = $("findings-list");
  while (list.children.length > Math.min(others.length, MOST_OTHERS)) list.lastChild.remove();
  others.slice(0, MOST_OTHERS).forEach((one, place) => {
    const item = list.children[place] ?? list.appendChild($("finding-template").content.firstElementChild.cloneNode(true));
    item.dataset.level = levelOf(one);
    writeMarked(item.querySelector(".what"), textOf(one));
    writeMarked(item.querySelector(".more"), one.advice);
  });
  const more = others.length - MOST_OTHERS;
  write($("others-title"), more > 0 ? `Also, with ${more} more in lbflask doctor` : "Also");
  $("others").hidden = others.length === 0;
}

/** Give the first finding to screen readers, at once if it is bad; not again while only its figures change. */
function announce(first) {
  const words = first ? wordsOf(first) : "";
  const grave = first !== undefined && levelOf(first) === "bad";
  if (words === spoken.words && (spoken.grave || !grave)) return;
  const text = first ? `${textOf(first)}. Remedy: ${first.advice}`.replaceAll("`", "") : "No finding any more.";
  write($("spoken-alert"), grave ? text : "");
  write($("spoken-status"), grave ? "" : text);
  spoken = { words, grave };
}

/** Forget the findings, as after the end of a session. */
export function clearFindings() {
  $("findings").hidden = true;
  write($("spoken-alert"), "");
  write($("spoken-status"), "");
  spoken = { words: "", grave: false };
}
