/* The list of batches, with how far each is. */

import { action, cancelBatch } from "./actions.js";
import { read } from "./api.js";
import { fill, h, keyed, partsOf, say, set, withParts } from "./dom.js";
import { badge, counted, newestFirst, setBadge, setWhen, shortId } from "./format.js";
import { icon } from "./icons.js";
import { live, throttled } from "./live.js";
import { complain, trouble } from "./notices.js";
import { progress, setProgress } from "./progress.js";
import { addressOf } from "./router.js";
import { rowSkeletons } from "./skeletons.js";

const PAGE = 20;
const LOOK_AGAIN = 2_500;

export function batches({ signal }) {
  return new BatchList(signal).view;
}

class BatchList {
  #signal;
  #items = new Map();
  #cursor = null;
  #list = h("ul", { class: "rows batches" });
  #below = h("div", { class: "below" }, rowSkeletons(3));
  #total = h("p", { class: "total", role: "status" });

  constructor(signal) {
    this.#signal = signal;
    const look = throttled(LOOK_AGAIN, () => this.#read({}), signal);
    live.on("batch", (update) => this.#take(update, look), signal);
    live.on("refresh", look, signal);
    live.ready().then(() => this.#read({}));
  }

  get view() {
    const heading = h("div", { class: "heading" }, h("h1", { tabindex: "-1" }, "Batches"), this.#total);
    return { title: "Batches", element: h("section", {}, heading, this.#list, this.#below) };
  }

  async #read(more, after = 0) {
    try {
      const { body, position } = await read(
        "/batch/applications",
        { limit: PAGE, ...more },
        { after, signal: this.#signal },
      );
      for (const one of body.data) {
        const there = this.#items.get(one.batch_id);
        if (!there || there.position <= position) this.#items.set(one.batch_id, { ...one, position });
      }
      if (more.cursor || this.#cursor === null) this.#cursor = body.pagination.next_cursor;
      say(this.#total, body.pagination.total_count ? counted(body.pagination.total_count, "batch", "batches") : "");
      this.#draw();
    } catch (error) {
      if (this.#signal.aborted || error?.name === "AbortError") return;
      if (this.#items.size) complain(error, "The batches could not be read");
      else
        fill(
          this.#below,
          trouble(error, () => this.#read({})),
        );
    }
  }

  #take(update, look) {
    const there = this.#items.get(update.batch_id);
    if (!there) return look();
    if (update.position <= there.position) return undefined;
    const { status, total, processed, succeeded, failed, position } = update;
    Object.assign(there, {
      status,
      total,
      processed,
      succeeded,
      failed,
      position,
      cancelled: processed - succeeded - failed,
    });
    return this.#draw();
  }

  #draw() {
    const items = [...this.#items.values()].sort(newestFirst((one) => one.batch_id));
    keyed(
      this.#list,
      items,
      (one) => one.batch_id,
      () => row(),
      (element, one) => this.#drawRow(element, one),
    );
    fill(this.#below, items.length ? this.#more() : empty());
  }

  #drawRow(element, one) {
    const { sign, link, id, time, far, actions } = partsOf(element);
    setBadge(sign, one.status);
    set(link, { href: addressOf(`/batches/${one.batch_id}`) });
    say(link, counted(one.total, "application"));
    say(id, shortId(one.batch_id));
    setWhen(time, one.created_at);
    setProgress(far, one);
    const open = one.status === "pending" || one.status === "processing";
    if (actions.dataset.open === String(open)) return;
    actions.dataset.open = String(open);
    const cancel = () => cancelBatch(this.#items.get(one.batch_id), (position) => this.#read({}, position));
    fill(
      actions,
      open
        ? action({ label: "Cancel", sign: "cancel", kind: "quiet", of: `batch of ${one.total}`, run: cancel })
        : null,
    );
  }

  #more() {
    return (
      this.#cursor && h("button", { type: "button", onclick: () => this.#read({ cursor: this.#cursor }) }, "Show more")
    );
  }
}

function row() {
  const parts = {
    sign: badge("pending"),
    link: h("a", { class: "cover" }),
    id: h("code", { class: "company" }),
    time: h("time"),
    far: progress(),
    actions: h("div", { class: "actions" }),
  };
  const { sign, link, id, time, far, actions } = parts;
  const what = h("div", { class: "what" }, h("p", { class: "name" }, link, id));
  return withParts(h("li", { class: "row batch" }, sign, what, far, time, actions), parts);
}

function empty() {
  return h(
    "div",
    { class: "empty" },
    icon("batches"),
    h("h2", {}, "No batches yet"),
    h("p", {}, "Up to 100 applications can be submitted at once, and followed and cancelled together."),
    h("a", { class: "button primary", href: "#/submit" }, "Submit a batch"),
  );
}
