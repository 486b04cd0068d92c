/* What stands around every view: the sections, who is signed in, and how the connection is. */

import { fill, h, say, set } from "./dom.js";
import { clock, exactly, lasting } from "./format.js";
import { icon } from "./icons.js";
import { live, REFRESH_SECONDS } from "./live.js";
import { session } from "./session.js";

const SECTIONS = [
  ["/applications", "Applications", "applications"],
  ["/batches", "Batches", "batches"],
  ["/operations", "Operations", "operations"],
  ["/submit", "Submit", "submit"],
];
const SOON_SECONDS = 120;

const sections = document.getElementById("sections");
const connection = document.getElementById("connection");
const person = document.getElementById("who");
const dot = h("span", { class: "dot", "aria-hidden": "true" });
const told = h("span", { class: "told" });
const detail = h("span", { class: "detail", "aria-hidden": "true" });
const life = h("span", { class: "life" });

connection.append(dot, told, detail);
live.on("state", showConnection);
setInterval(() => {
  showConnection();
  showLife();
}, 1_000);

/** By who is signed in. */
export function showShell() {
  const who = session.who;
  const hidden = !session.token;
  for (const element of [sections, connection, person]) element.hidden = hidden;
  if (hidden) return;
  const allowed = SECTIONS.filter(([path]) => path !== "/operations" || who?.operator);
  fill(
    sections,
    allowed.map(([path, name, sign]) =>
      h(
        "a",
        { href: `#${path}`, class: path === "/submit" ? "submit" : null, data: { path } },
        icon(sign),
        h("span", {}, name),
      ),
    ),
  );
  fill(
    person,
    h(
      "span",
      { class: "name", title: who?.operator ? "Signed in, as an operator" : "Signed in" },
      icon("person"),
      h("span", {}, who?.user ?? "you"),
    ),
    life,
    h(
      "button",
      { type: "button", class: "plain", onclick: () => session.signOut(), title: "Sign out" },
      icon("out"),
      h("span", { class: "unseen" }, "Sign out"),
    ),
  );
  showLife();
  showConnection();
}

export function markSection(path) {
  for (const link of sections.children)
    set(link, {
      "aria-current": path === link.dataset.path ? "page" : path?.startsWith(`${link.dataset.path}/`) ? "true" : null,
    });
}

function showLife() {
  const expires = session.who?.expires;
  if (!expires) return say(life, "");
  const seconds = Math.max(0, (expires.getTime() - Date.now()) / 1000);
  life.title = `The token expires at ${exactly(expires)}`;
  life.classList.toggle("soon", seconds < SOON_SECONDS);
  return say(life, seconds < 1 ? "expired" : `expires in ${lasting(seconds)}`);
}

/** The text changes with the state only, as it is read aloud; the count of seconds is not. */
function showConnection() {
  const seconds = live.retryAt === null ? 0 : Math.max(0, Math.ceil((live.retryAt - Date.now()) / 1000));
  connection.dataset.state = live.state;
  const [text, more, title] = connectionText(live.state, seconds);
  say(told, text);
  say(detail, more);
  connection.title = title;
}

function connectionText(state, seconds) {
  switch (state) {
    case "live":
      return ["Live", "", "Changes show as they happen"];
    case "connecting":
      return ["Connecting", "", "The stream of changes is asked for"];
    case "absent":
      return [
        "Refreshing",
        `every ${REFRESH_SECONDS} s`,
        "This service has no stream of changes: the page reads again from time to time",
      ];
    case "resting":
      return ["Resting", "", "Goes on as soon as you look at the page"];
    case "waiting":
      return navigator.onLine
        ? [
            "Reconnecting",
            seconds ? `in ${seconds} s` : "",
            `The stream of changes broke off; tried again at ${clock(new Date(live.retryAt))}. Nothing is missed`,
          ]
        : ["Offline", "", "This browser has no network"];
    default:
      return ["Not connected", "", ""];
  }
}
