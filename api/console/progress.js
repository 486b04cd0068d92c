/* How far a batch is: a bar of what became of its applications, and the same in words. */

import { h, say, set } from "./dom.js";
import { counted, number } from "./format.js";

const PARTS = ["succeeded", "failed", "cancelled", "processing"];

export function progress() {
  const element = h("div", { class: "progress" });
  element.bar = h("div", { class: "bar", role: "img" }, PARTS.map((part) => h("span", { class: part })));
  element.told = h("p", { class: "told" });
  element.append(element.bar, element.told);
  return element;
}

/** `processing`: how many are being processed now, where that is known. */
export function setProgress(element, batch, processing = 0) {
  const counts = { ...batch, processing };
  PARTS.forEach((part, n) => element.bar.children[n].style.setProperty("--share", String(counts[part] / batch.total)));
  const text = inWords(batch);
  set(element.bar, { "aria-label": text });
  say(element.told, text);
}

function inWords({ total, processed, succeeded, failed, cancelled }) {
  const parts = [
    [succeeded, "succeeded"],
    [failed, "failed"],
    [cancelled, "cancelled"],
  ].flatMap(([count, name]) => (count ? [`${number(count)} ${name}`] : []));
  const ended = processed === total ? `All ${counted(total, "application")} ended` : `${number(processed)} of ${number(total)} ended`;
  return parts.length ? `${ended}: ${parts.join(", ")}` : ended;
}
