/* For operators: the applications that a read model cannot go on with, and the command that decides on them. */

import { h } from "./dom.js";
import { counted, number } from "./format.js";

export const PARKED_SHOWN = 50;

const COLUMNS = ["Application", "Read model", "Event", "Why", "Waiting"];

export function parkedStreams({ data, pagination: { total_count: total } }) {
  if (total === 0) return h("p", { class: "hint" }, "Nothing waits for a decision.");
  return [
    h(
      "div",
      { class: "scrolled", tabindex: "0", role: "region", "aria-label": "Table of parked streams" },
      h(
        "table",
        {},
        h("thead", {}, h("tr", {}, COLUMNS.map((name, n) => h("th", { scope: "col", class: n > 3 ? "number" : null }, name)))),
        h("tbody", {}, data.map(row)),
      ),
    ),
    h(
      "p",
      { class: "hint" },
      total > data.length ? `The newest ${number(data.length)} of ${number(total)}. ` : null,
      "Decide with ",
      h("code", {}, "app-manager projections parked"),
      ": ",
      h("code", {}, "retry"),
      " once a release can take the event, ",
      h("code", {}, "skip"),
      " to go past it.",
    ),
  ];
}

function row({ projection, stream, position, event_type: type, error, group, waiting }) {
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, h("code", {}, stream)),
    h("td", {}, projection),
    h("td", {}, type, h("span", { class: "more" }, ` at ${number(position)}`)),
    h("td", {}, error, h("span", { class: "more" }, ` group ${group}`)),
    h("td", { class: "number" }, counted(waiting, "event")),
  );
}
