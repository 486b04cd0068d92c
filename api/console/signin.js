/* Signing in with a token: as the whole page, or over a page whose token has expired, which stays as it is. */

import { read, Refused, Unreachable } from "./api.js";
import { open } from "./dialogs.js";
import { freshId, h, say } from "./dom.js";
import { lasting } from "./format.js";
import { icon } from "./icons.js";
import { readToken, session } from "./session.js";

export function signIn() {
  const element = h(
    "section",
    { class: "signin" },
    h("h1", { tabindex: "-1" }, "Sign in"),
    h("p", { class: "lead" }, "Submit job applications, and see what becomes of each as it happens."),
    form({}),
    h(
      "p",
      { class: "hint" },
      "A token is what you call the API with. For development, ",
      h("code", {}, "app-manager token NAME"),
      " makes one; ",
      h("code", {}, "--admin"),
      " makes an operator’s.",
    ),
  );
  return { title: "Sign in", element };
}

/** Over the page, which goes on when the same user has signed in again. */
export function askToSignIn({ why, user }, { signedInAs, gaveUp }) {
  const signedIn = () => dialog.close("signed-in");
  const dialog = open(
    { class: "small", "aria-labelledby": "again-title", "data-modal": true },
    [
      h("h2", { id: "again-title" }, "Sign in again"),
      h("p", {}, why, user ? ` What you have here stays as it is, ${user}.` : ""),
      form({ signedIn, again: true }),
    ],
    (answer) => (answer === "signed-in" ? signedInAs(session.who?.user) : gaveUp()),
  );
}

function form({ signedIn = () => {}, again = false }) {
  const id = freshId("token");
  const input = h("input", {
    id,
    type: "password",
    autocomplete: "current-password",
    spellcheck: "false",
    autocapitalize: "off",
    required: true,
    autofocus: true,
  });
  const problem = h("p", { class: "problem", id: `${id}-problem`, role: "alert" });
  const whose = h("p", { class: "hint", id: `${id}-whose` });
  const button = h("button", { class: "primary", type: "submit" }, "Sign in");
  input.addEventListener("input", () => {
    say(problem, "");
    input.removeAttribute("aria-invalid");
    say(whose, whoseIs(cleaned(input.value)));
  });
  input.setAttribute("aria-describedby", `${problem.id} ${whose.id}`);
  const element = h(
    "form",
    { class: "token", novalidate: true },
    h("label", { for: id }, "Token"),
    h("div", { class: "with-icon" }, icon("key"), input),
    whose,
    problem,
    button,
  );
  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    const wrong = await tryToken(cleaned(input.value), again);
    button.disabled = false;
    say(problem, wrong ?? "");
    if (wrong) {
      input.setAttribute("aria-invalid", "true");
      input.focus();
    } else signedIn();
  });
  return element;
}

/** As it is pasted: perhaps with `Bearer` before it, or with line breaks in it. */
const cleaned = (text) => text.replace(/^\s*bearer\s+/i, "").replace(/\s+/g, "");

function whoseIs(token) {
  const who = readToken(token);
  if (!who) return "";
  const left = who.expires ? (who.expires.getTime() - Date.now()) / 1000 : null;
  const life = left === null ? "does not expire" : left > 0 ? `expires in ${lasting(left)}` : "has expired";
  return `Of ${who.user}${who.operator ? ", an operator" : ""}; ${life}.`;
}

/** Why it cannot be used, null if it can. */
async function tryToken(token, again) {
  if (!readToken(token)) return "This is no token: it has three parts with dots between them, and says whose it is.";
  try {
    await read("/applications", { limit: 1 }, { token });
  } catch (error) {
    if (error instanceof Refused && error.status === 401)
      return `The service does not accept this token: ${error.message}.`;
    if (error instanceof Unreachable) return error.message;
    // anything else is no trouble of the token
  }
  session.signIn(token, again);
  return null;
}
