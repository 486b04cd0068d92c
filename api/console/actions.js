/* What can be done with an application or a batch, from wherever it is shown. */

import { Refused, write } from "./api.js";
import { confirmed } from "./dialogs.js";
import { h } from "./dom.js";
import { icon } from "./icons.js";
import { complain, notice } from "./notices.js";

/** A button that is busy while it works, so that a double click does it once. */
export function action({ label, sign, kind = "", of, run }) {
  const button = h(
    "button",
    { type: "button", class: `action ${kind}`, "aria-label": of ? `${label}: ${of}` : null },
    icon(sign),
    h("span", {}, label),
  );
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-disabled")) return;
    button.setAttribute("aria-disabled", "true");
    try {
      await run();
    } finally {
      button.removeAttribute("aria-disabled");
    }
  });
  return button;
}

/** `done` gets the position of the change. */
export function actionFor(application, name, done) {
  const path = `/applications/${application.application_id}`;
  if (application.status === "failed")
    return action({
      label: "Retry",
      sign: "retry",
      of: name,
      run: () => change("POST", `${path}/retry`, "Could not retry", done, "It is queued again"),
    });
  if (application.status === "pending")
    return action({
      label: "Cancel",
      sign: "cancel",
      kind: "quiet",
      of: name,
      run: () => change("DELETE", path, "Could not cancel", done, "It is cancelled"),
    });
  return null;
}

export async function cancelBatch(batch, done) {
  const open = batch.total - batch.processed;
  const sure = await confirmed({
    title: "Cancel this batch?",
    text: `What is still pending of its ${open} open applications is taken back. What is being processed runs to its end.`,
    action: "Cancel the batch",
  });
  if (sure)
    await change(
      "DELETE",
      `/batch/applications/${batch.batch_id}`,
      "Could not cancel the batch",
      done,
      "What was pending is cancelled",
    );
}

/** Where it was overtaken by somebody or something else, what is shown is read again. */
async function change(method, path, failure, done, success) {
  try {
    const { position } = await write(method, path);
    notice(success, { kind: "good" });
    await done(position);
  } catch (error) {
    complain(error, failure);
    if (error instanceof Refused && error.status === 409) await done(0);
  }
}
