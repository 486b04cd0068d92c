/* What is said beside the page: short notices that go by themselves, and what screen readers are told politely. */

import { Refused, Unreachable } from "./api.js";
import { fill, h, say } from "./dom.js";
import { icon } from "./icons.js";

const SHOWN = 6_000;
const ERROR_SHOWN = 12_000;
const AT_MOST = 4;
const GATHER = 800;

const place = () => document.getElementById("notices");
const announcer = () => document.getElementById("announcer");

export function notice(text, { kind = "info" } = {}) {
  const close = h(
    "button",
    { class: "plain", type: "button", "aria-label": "Dismiss", onclick: () => element.remove() },
    icon("cancel"),
  );
  const element = h(
    "div",
    { class: `notice ${kind}` },
    icon(kind === "error" ? "alert" : kind === "good" ? "success" : "info"),
    h("p", {}, text),
    close,
  );
  place().append(element);
  while (place().children.length > AT_MOST) place().firstElementChild.remove();
  let timer = setTimeout(() => element.remove(), kind === "error" ? ERROR_SHOWN : SHOWN);
  for (const stay of ["pointerenter", "focusin"]) element.addEventListener(stay, () => clearTimeout(timer));
  for (const go of ["pointerleave", "focusout"])
    element.addEventListener(go, () => {
      clearTimeout(timer);
      timer = setTimeout(() => element.remove(), SHOWN);
    });
}

/** Why something was not done. What ended with the session is told where one signs in. */
export function complain(error, doing) {
  if (error?.name === "AbortError" || (error instanceof Refused && error.status === 401)) return;
  notice(`${doing}: ${reasonOf(error)}`, { kind: "error" });
}

export function reasonOf(error) {
  if (error instanceof Refused) {
    const later = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
    return `${error.message.replace(/\.$/, "")} (${error.code || error.status}).${later}`;
  }
  return error instanceof Unreachable
    ? error.message
    : `something went wrong in this page (${error?.message ?? error}).`;
}

let waiting = [];
let timer = null;

/** Told when there is a pause, and many things at once by their number. */
export function announce(text) {
  waiting.push(text);
  timer ??= setTimeout(() => {
    say(announcer(), waiting.length > 3 ? `${waiting.length} changes` : waiting.join(". "));
    waiting = [];
    timer = null;
  }, GATHER);
}

/** Shown in the place of what could not be read. */
export function trouble(error, again) {
  const element = h("div", { class: "empty trouble", role: "alert" });
  fill(
    element,
    icon("alert"),
    h("h2", {}, "This could not be read"),
    h("p", {}, reasonOf(error)),
    h("button", { type: "button", onclick: again }, icon("retry"), "Try again"),
  );
  return element;
}
