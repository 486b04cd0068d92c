/* Exports: how much there is, and all of it as a file. */

import { download, read } from "./api.js";
import { open } from "./dialogs.js";
import { fill, freshId, h } from "./dom.js";
import { number } from "./format.js";
import { icon } from "./icons.js";
import { complain, notice, reasonOf } from "./notices.js";

export function exportDialog() {
  const leaving = new AbortController();
  const summary = h("div", { class: "summary", "aria-busy": "true" });
  const portal = h("select", { id: freshId("portal") }, h("option", { value: "" }, "All portals"));
  const from = h("input", { id: freshId("from"), type: "date" });
  const until = h("input", { id: freshId("until"), type: "date" });
  const successful = h("input", { id: freshId("successful"), type: "checkbox", checked: true });
  const failed = h("input", { id: freshId("failed"), type: "checkbox", checked: true });
  const asked = () => ({
    include_successful: successful.checked,
    include_failed: failed.checked,
    portal: portal.value,
    date_from: from.value,
    date_to: until.value,
  });
  const dialog = open(
    { class: "small export", "aria-labelledby": "export-title" },
    [
      h(
        "header",
        {},
        h("h2", { id: "export-title" }, "Export"),
        h(
          "button",
          { type: "button", class: "plain", "aria-label": "Close", onclick: () => dialog.close() },
          icon("cancel"),
        ),
      ),
      summary,
      h(
        "fieldset",
        { class: "checks" },
        h("legend", {}, "Jobs"),
        check(successful, "Applied"),
        check(failed, "Failed"),
      ),
      h("div", { class: "field" }, h("label", { for: portal.id }, "Portal"), portal),
      h(
        "div",
        { class: "pair" },
        h("div", { class: "field" }, h("label", { for: from.id }, "Submitted from"), from),
        h("div", { class: "field" }, h("label", { for: until.id }, "until"), until),
      ),
      h(
        "div",
        { class: "buttons" },
        saver("Excel", "/export/excel", asked),
        saver("CSV", "/export/csv", () => ({ ...asked(), stream: true })),
      ),
    ],
    () => leaving.abort(),
  );
  summarise(summary, portal, leaving.signal);
}

async function summarise(element, portals, signal) {
  try {
    const { body } = await read("/export/summary", {}, { signal });
    element.removeAttribute("aria-busy");
    fill(
      element,
      h("p", {}, h("strong", {}, number(body.successful_applications)), " applied"),
      h("p", {}, h("strong", {}, number(body.failed_applications)), " failed"),
      h(
        "p",
        {},
        h("strong", {}, number(body.available_portals.length)),
        body.available_portals.length === 1 ? " portal" : " portals",
      ),
    );
    portals.append(...body.available_portals.map((name) => h("option", { value: name }, name)));
  } catch (error) {
    if (!signal.aborted) fill(element, h("p", { class: "problem" }, reasonOf(error)));
  }
}

const check = (input, label) => h("div", { class: "check" }, input, h("label", { for: input.id }, label));

function saver(label, path, asked) {
  const text = h("span", {}, label);
  const button = h("button", { type: "button", class: "primary" }, icon("export"), text);
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-disabled")) return;
    button.setAttribute("aria-disabled", "true");
    text.textContent = "Preparing …";
    try {
      notice(`${await download(path, asked())} is saved`, { kind: "good" });
    } catch (error) {
      complain(error, `The ${label} file could not be made`);
    } finally {
      button.removeAttribute("aria-disabled");
      text.textContent = label;
    }
  });
  return button;
}
