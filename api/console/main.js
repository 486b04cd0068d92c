/* Where the page begins: which view belongs to which address, and when it is shown. */

import { application } from "./application.js";
import { applications } from "./applications.js";
import { batch } from "./batch.js";
import { batches } from "./batches.js";
import { fill, h } from "./dom.js";
import { keepTimesFresh } from "./format.js";
import { live } from "./live.js";
import { operations } from "./operations.js";
import { whereabouts } from "./router.js";
import { session } from "./session.js";
import { markSection, showShell } from "./shell.js";
import { askToSignIn, signIn } from "./signin.js";
import { submit } from "./submit.js";

const VIEWS = [
  [/^\/applications$/, applications],
  [/^\/applications\/([\w-]+)$/, application],
  [/^\/batches$/, batches],
  [/^\/batches\/([\w-]+)$/, batch],
  [/^\/submit$/, submit],
  [/^\/operations$/, operations],
];

const main = document.getElementById("main");
let leaving = new AbortController();
let shown = null;

/** Shows what the address says. A view ends its listeners and calls when its `signal` says so. */
function show() {
  const { path, query } = whereabouts();
  leaving.abort();
  leaving = new AbortController();
  for (const dialog of document.querySelectorAll("dialog:not([data-modal])")) dialog.close();
  showShell();
  if (!session.token) return present(signIn(), null);
  for (const [pattern, view] of VIEWS) {
    const found = pattern.exec(path);
    if (found) return present(view({ id: found[1], query, signal: leaving.signal }), path);
  }
  return present({ title: "Nothing here", element: nothingHere() }, path);
}

function present({ title, element }, path) {
  fill(main, element);
  document.title = `${title} · Application Manager`;
  markSection(path);
  window.scrollTo(0, 0);
  if (shown !== null && shown !== path) (element.querySelector("h1") ?? main).focus({ preventScroll: true });
  shown = path;
}

function nothingHere() {
  return h(
    "section",
    { class: "empty" },
    h("h1", { tabindex: "-1" }, "Nothing here"),
    h("p", {}, "No page of the console has this address."),
    h("a", { class: "button", href: "#/applications" }, "To your applications"),
  );
}

window.addEventListener("hashchange", show);
document.querySelector("[data-skip]").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
session.addEventListener("signed-in", ({ detail }) => {
  if (!detail.again) show();
});
session.addEventListener("signed-out", show);
session.addEventListener("expired", ({ detail }) => {
  showShell();
  askToSignIn(detail, { signedInAs: (user) => (user === detail.user ? showShell() : show()), gaveUp: show });
});
live.start();
keepTimesFresh();
show();
