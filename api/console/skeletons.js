/* What stands there until something has been read: of the same height, so that nothing jumps. */

import { h } from "./dom.js";

export function rowSkeletons(count) {
  return h(
    "div",
    { class: "skeletons", "aria-hidden": "true" },
    Array.from({ length: count }, () => h("div", { class: "skeleton row" })),
  );
}

export function blockSkeletons(count = 2) {
  return h(
    "div",
    { class: "skeletons blocks", "aria-hidden": "true" },
    Array.from({ length: count }, () => h("div", { class: "skeleton block" })),
  );
}
