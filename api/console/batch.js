/* One batch: how far it is, and each of its applications. */

import { action, cancelBatch } from "./actions.js";
import { read, Refused } from "./api.js";
import { fill, h, keyed, partsOf, say, withParts } from "./dom.js";
import { badge, counted, setBadge, setWhen, shortId } from "./format.js";
import { icon } from "./icons.js";
import { live, throttled } from "./live.js";
import { announce, trouble } from "./notices.js";
import { progress, setProgress } from "./progress.js";
import { addressOf } from "./router.js";
import { blockSkeletons } from "./skeletons.js";

const LOOK_AGAIN = 3_000;
const ENDED = ["success", "failed", "cancelled"];

export function batch({ id, signal }) {
  return new BatchView(id, signal).view;
}

class BatchView {
  #id;
  #signal;
  #batch = null;
  #parts = null;
  #element = h("section", { class: "of-batch" });

  constructor(id, signal) {
    this.#id = id;
    this.#signal = signal;
    const look = throttled(LOOK_AGAIN, () => this.#read(), signal);
    live.on("batch", (update) => update.batch_id === id && this.#take(update, look), signal);
    live.on("application", (update) => this.#takeItem(update, look), signal);
    live.on("refresh", look, signal);
    fill(this.#element, back(), h("h1", { tabindex: "-1" }, "Batch"), blockSkeletons());
    live.ready().then(() => this.#read());
  }

  get view() {
    return { title: "Batch", element: this.#element };
  }

  async #read(after = 0) {
    try {
      const { body, position } = await read(
        `/batch/applications/${encodeURIComponent(this.#id)}`,
        {},
        { after, signal: this.#signal },
      );
      if (this.#batch && position < this.#batch.position) return;
      this.#batch = { ...body, position, results: body.results.map((item) => ({ ...item, position })) };
      this.#draw();
    } catch (error) {
      if (this.#signal.aborted || error?.name === "AbortError" || this.#batch) return;
      const gone = error instanceof Refused && error.status === 404;
      const nothing = h(
        "div",
        { class: "empty" },
        icon("search"),
        h("p", {}, "You have no batch with this id. Perhaps it is another user’s."),
      );
      fill(
        this.#element,
        back(),
        h("h1", { tabindex: "-1" }, gone ? "No such batch" : "Batch"),
        gone ? nothing : trouble(error, () => this.#read()),
      );
    }
  }

  #take(update, look) {
    if (!this.#batch) return void look(); // what is being read may have been answered before it
    if (update.position > this.#batch.position) {
      const { status, processed, succeeded, failed, position } = update;
      if (status !== this.#batch.status) announce(`Batch: ${status}`);
      Object.assign(this.#batch, {
        status,
        processed,
        succeeded,
        failed,
        position,
        cancelled: processed - succeeded - failed,
      });
      this.#draw();
    }
    if (update.processed === update.total) look(); // when it was completed, and why what failed did
  }

  #takeItem({ application_id: id, status, error_reason: error, position }, look) {
    if (!this.#batch) return void look();
    const item = this.#batch.results.find((one) => one.application_id === id);
    if (!item || position <= item.position) return;
    Object.assign(item, { status, error: error ?? null, position });
    this.#draw();
  }

  #draw() {
    this.#parts ??= this.#frame();
    const { badge: sign, name, created, completed, bar, actions, items } = this.#parts;
    const one = this.#batch;
    setBadge(sign, one.status);
    say(name, `Batch of ${counted(one.total, "application")}`);
    setWhen(created, one.created_at);
    if (one.completed_at) setWhen(completed, one.completed_at);
    completed.parentElement.parentElement.hidden = !one.completed_at;
    setProgress(bar, one, one.results.filter((item) => item.status === "processing").length);
    const open = one.results.some((item) => !ENDED.includes(item.status));
    if (actions.dataset.open !== String(open)) {
      actions.dataset.open = String(open);
      const cancel = () => cancelBatch(this.#batch, (position) => this.#read(position));
      fill(
        actions,
        open ? action({ label: "Cancel", sign: "cancel", kind: "quiet", of: "this batch", run: cancel }) : null,
      );
    }
    keyed(
      items,
      one.results,
      (item) => item.application_id,
      (item) => itemElement(item),
      drawItem,
    );
  }

  #frame() {
    const parts = {
      badge: badge("pending"),
      name: h("h1", { tabindex: "-1" }),
      created: h("time"),
      completed: h("time"),
      bar: progress(),
      actions: h("div", { class: "actions" }),
      items: h("ol", { class: "rows items" }),
    };
    const focused = this.#element.contains(document.activeElement);
    fill(
      this.#element,
      back(),
      h("header", { class: "of-one" }, h("div", {}, parts.badge, parts.name), parts.actions),
      parts.bar,
      h(
        "dl",
        { class: "facts" },
        h("div", {}, h("dt", {}, "Submitted"), h("dd", {}, parts.created)),
        h("div", {}, h("dt", {}, "Completed"), h("dd", {}, parts.completed)),
        h("div", {}, h("dt", {}, "Id"), h("dd", {}, h("code", { title: this.#id }, shortId(this.#id)))),
      ),
      parts.items,
    );
    if (focused) parts.name.focus({ preventScroll: true });
    return parts;
  }
}

const back = () => h("a", { class: "back", href: "#/batches" }, icon("back"), "Batches");

function itemElement(item) {
  const parts = { sign: badge(item.status), reason: h("p", { class: "reason" }) };
  const link = h(
    "a",
    { class: "cover", href: addressOf(`/applications/${item.application_id}`) },
    `Application ${item.index + 1}`,
  );
  const name = h("p", { class: "name" }, link, h("code", { class: "company" }, shortId(item.application_id)));
  const place = h("span", { class: "place", "aria-hidden": "true" }, String(item.index + 1));
  return withParts(
    h("li", { class: "row item" }, place, parts.sign, h("div", { class: "what" }, name, parts.reason)),
    parts,
  );
}

function drawItem(element, item) {
  const { sign, reason } = partsOf(element);
  setBadge(sign, item.status);
  say(reason, item.error ?? "");
}
