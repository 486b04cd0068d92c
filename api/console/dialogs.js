/* Dialogs: the browser's own, so that focus, Escape and the rest of the page are as they should be. */

import { h } from "./dom.js";

/** Opens a dialog and removes it when it is closed. Gives its element; `closed` gets its return value. */
export function open(attributes, children, closed = () => {}) {
  const dialog = h("dialog", attributes, ...children);
  dialog.addEventListener("close", () => {
    dialog.remove();
    closed(dialog.returnValue);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog && !attributes["data-modal"]) dialog.close();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Asks before something that cannot be undone. */
export function confirmed({ title, text, action }) {
  return new Promise((done) => {
    const dialog = open(
      { class: "small", "aria-labelledby": "confirm-title" },
      [
        h("h2", { id: "confirm-title" }, title),
        h("p", {}, text),
        h(
          "div",
          { class: "buttons" },
          h("button", { type: "button", onclick: () => dialog.close("no"), autofocus: true }, "Keep it as it is"),
          h("button", { type: "button", class: "danger", onclick: () => dialog.close("yes") }, action),
        ),
      ],
      (answer) => done(answer === "yes"),
    );
  });
}
