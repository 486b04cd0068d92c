/* How far a batch is: a bar of what became of its applications, and the same in words. */

import { h, partsOf, say, set, withParts } from "./dom.js";
import { counted, number } from "./format.js";

const PARTS = ["succeeded", "failed", "cancelled", "processing"];

export function progress() {
  const bar = h(
    "div",
    { class: "bar", role: "img" },
    PARTS.map((part) => h("span", { class: part })),
  );
  const told = h("p", { class: "told", "aria-hidden": "true" });
  return withParts(h("div", { class: "progress" }, bar, told), { bar, told });
}

/** `processing`: how many are being processed now, where that is known. */
export function setProgress(element, batch, processing = 0) {
  const { bar, told } = partsOf(element);
  const counts = { ...batch, processing };
  PARTS.forEach((part, n) => bar.children[n].style.setProperty("--share", String(counts[part] / batch.total)));
  const text = inWords(batch);
  set(bar, { "aria-label": text });
  say(told, text);
}

function inWords({ total, processed, succeeded, failed, cancelled }) {
  const parts = [
    [succeeded, "succeeded"],
    [failed, "failed"],
    [cancelled, "cancelled"],
  ].flatMap(([count, name]) => (count ? [`${number(count)} ${name}`] : []));
  const ended =
    processed === total
      ? `All ${counted(total, "application")} ended`
      : `${number(processed)} of ${number(total)} ended`;
  return parts.length ? `${ended}: ${parts.join(", ")}` : ended;
}
