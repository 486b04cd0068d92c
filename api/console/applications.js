/* The list of applications: live, filtered, page by page. */

import { actionFor } from "./actions.js";
import { read } from "./api.js";
import { Counts } from "./counts.js";
import { fill, freshId, h, keyed, partsOf, say, set, settled, withParts } from "./dom.js";
import { exportDialog } from "./exports.js";
import { badge, counted, nameOf, newestFirst, number, setBadge, setWhen, STATUSES, titleOf } from "./format.js";
import { icon } from "./icons.js";
import { live, throttled } from "./live.js";
import { announce, complain, trouble } from "./notices.js";
import { addressOf, follow } from "./router.js";
import { rowSkeletons } from "./skeletons.js";

const PAGE = 25;
const FIELDS = [
  ["title", "Title"],
  ["company_name", "Company"],
  ["portal", "Portal"],
];
const LOOK_AGAIN = 2_500;
const RECOUNT = 60_000;
const AT_REST = 3_000; // a pointer that does not move so long points at nothing

export function applications({ query, signal }) {
  return new ApplicationList(query, signal).view;
}

class ApplicationList {
  #filters;
  #signal;
  #items = new Map(); // by id; the newest first
  #position = 0; // what is shown is no older
  #cursor = null;
  #counts = new Counts((counts) => this.#drawChips(counts));
  #reading = null;
  #list = h("ul", { class: "rows" });
  #below = h("div", { class: "below" });
  #chips = h("div", { class: "chips", role: "group", "aria-label": "Status" });
  #total = h("p", { class: "total", role: "status" });
  #fresh = h("button", { type: "button", class: "fresh", hidden: true });
  #newcomers = [];
  #pointedAt = 0;

  constructor(query, signal) {
    this.#signal = signal;
    this.#filters = { status: query.status in STATUSES ? query.status : "", ...pick(query) };
    this.#fresh.addEventListener("click", () => this.#letIn({ first: true }));
    this.#list.addEventListener("pointermove", () => {
      this.#pointedAt = Date.now();
    });
    const look = throttled(LOOK_AGAIN, () => this.#look(), signal);
    const recount = throttled(RECOUNT, () => this.#counts.read(signal), signal);
    live.on("application", (update) => this.#take(update, look, recount), signal);
    live.on("refresh", () => this.#refresh(), signal);
    this.#drawChips();
    fill(this.#below, rowSkeletons(6));
    live.ready().then(() => {
      this.#load();
      recount();
    });
  }

  get view() {
    const element = h(
      "section",
      { class: "applications" },
      h(
        "div",
        { class: "heading" },
        h("h1", { tabindex: "-1" }, "Applications"),
        this.#total,
        h("button", { type: "button", onclick: () => exportDialog() }, icon("export"), "Export"),
      ),
      h("div", { class: "filters" }, this.#chips, this.#search()),
      this.#fresh,
      this.#list,
      this.#below,
    );
    return { title: "Applications", element };
  }

  // -- filters ----------------------------------------------------------------------------------------------------------

  #search() {
    const changed = settled(300, () => this.#filtered(), this.#signal);
    const fields = FIELDS.map(([name, label]) => {
      const id = freshId(name);
      const input = h("input", {
        id,
        type: "search",
        value: this.#filters[name],
        placeholder: label,
        maxlength: 200,
        autocomplete: "off",
        spellcheck: "false",
      });
      input.addEventListener("input", () => {
        this.#filters[name] = input.value.trim();
        changed();
      });
      return h("div", { class: "with-icon" }, h("label", { class: "unseen", for: id }, label), icon("search"), input);
    });
    return h("search", { class: "search" }, fields);
  }

  #drawChips(counts = this.#counts.now) {
    const choose = (status) => () => {
      this.#filters.status = status;
      this.#drawChips();
      this.#filtered();
    };
    const kinds = [
      ["", "All", this.#counts.all],
      ...Object.entries(STATUSES).map(([status, name]) => [status, name, counts[status]]),
    ];
    keyed(
      this.#chips,
      kinds,
      ([status]) => status,
      ([status, name]) =>
        h(
          "button",
          { type: "button", class: "chip", data: { status }, onclick: choose(status) },
          h("span", {}, name),
          h("span", { class: "count" }),
        ),
      (chip, [status, , count]) => {
        set(chip, { "aria-pressed": String(this.#filters.status === status) });
        say(chip.lastChild, count === null ? "·" : number(count));
      },
    );
  }

  #filtered() {
    follow("/applications", this.#filters);
    this.#load();
  }

  // -- reading ----------------------------------------------------------------------------------------------------------

  async #load() {
    this.#reading?.abort();
    const reading = (this.#reading = new AbortController());
    if (!this.#items.size) fill(this.#below, rowSkeletons(6));
    delete this.#below.dataset.kind;
    this.#list.setAttribute("aria-busy", "true");
    try {
      const page = await this.#page({}, reading.signal);
      this.#items = new Map();
      this.#newcomers = [];
      this.#keep(page);
      this.#cursor = page.body.pagination.next_cursor;
      this.#draw();
    } catch (error) {
      if (reading.signal.aborted || this.#signal.aborted) return;
      fill(this.#list);
      delete this.#below.dataset.kind;
      fill(
        this.#below,
        trouble(error, () => this.#load()),
      );
    } finally {
      if (this.#reading === reading) this.#list.removeAttribute("aria-busy");
    }
  }

  async #more(button) {
    if (button.getAttribute("aria-disabled")) return;
    button.setAttribute("aria-disabled", "true");
    const last = this.#list.lastElementChild;
    try {
      const page = await this.#page({ cursor: this.#cursor }, this.#signal);
      this.#keep(page);
      this.#cursor = page.body.pagination.next_cursor;
      this.#draw();
      last?.nextElementSibling?.querySelector("a")?.focus();
    } catch (error) {
      complain(error, "The next page could not be read");
    } finally {
      button.removeAttribute("aria-disabled");
    }
  }

  /** The newest once more: what is new comes in, what is shown already is brought up to date. */
  async #look(after = 0) {
    try {
      const page = await this.#page({}, this.#signal, after);
      const known = new Set(this.#items.keys());
      const newcomers = page.body.data.filter((one) => !known.has(one.application_id));
      if (newcomers.length && this.#inUse) {
        this.#newcomers = newcomers;
        this.#keep(page, known);
        this.#letInLater();
      } else {
        this.#newcomers = [];
        this.#keep(page);
      }
      this.#draw();
    } catch (error) {
      if (!this.#signal.aborted && error?.name !== "AbortError") console.warn("not read again", error);
    }
  }

  #refresh() {
    this.#look();
    this.#counts.read(this.#signal);
  }

  #page(more, signal, after = 0) {
    const either = AbortSignal.any([signal, this.#signal]);
    return read("/applications", { limit: PAGE, ...this.#filters, ...more }, { after, signal: either });
  }

  #keep({ body, position }, known = null) {
    for (const one of body.data) {
      const there = this.#items.get(one.application_id);
      if (known && !there) continue;
      if (!there || there.position <= position) this.#items.set(one.application_id, { ...one, position });
    }
    this.#position = Math.max(this.#position, position);
    const total = body.pagination.total_count;
    say(this.#total, Object.values(this.#filters).some(Boolean) ? `${counted(total, "match", "matches")}` : "");
  }

  /** Somebody points at it or works in it: nothing is put above what he is about to use. */
  get #inUse() {
    return Date.now() - this.#pointedAt < AT_REST || this.#list.contains(document.activeElement);
  }

  #letInLater() {
    setTimeout(() => {
      if (!this.#newcomers.length || this.#signal.aborted) return;
      if (this.#inUse) this.#letInLater();
      else this.#letIn();
    }, AT_REST);
  }

  #letIn({ first = false } = {}) {
    for (const one of this.#newcomers)
      if (!this.#items.has(one.application_id))
        this.#items.set(one.application_id, { ...one, position: this.#position });
    this.#newcomers = [];
    this.#draw();
    if (first) this.#list.querySelector("a")?.focus();
  }

  // -- what happens meanwhile -------------------------------------------------------------------------------------------

  #take(update, look, recount) {
    const there = this.#items.get(update.application_id);
    if (!this.#counts.take(update, there)) recount();
    if (there && update.position <= there.position) return;
    if (!there) {
      look();
      return;
    }
    Object.assign(there, followed(there, update));
    announce(`${nameOf(there)}: ${STATUSES[update.status]}`);
    this.#draw();
  }

  // -- drawing ----------------------------------------------------------------------------------------------------------

  #draw() {
    const items = [...this.#items.values()].sort(newestFirst((one) => one.application_id));
    keyed(
      this.#list,
      items,
      (one) => one.application_id,
      () => row(),
      (element, one) => this.#drawRow(element, one),
    );
    this.#fresh.hidden = !this.#newcomers.length;
    say(this.#fresh, `Show ${counted(this.#newcomers.length, "new application")}`);
    this.#drawBelow(items.length ? (this.#cursor ? "more" : "end") : "none");
  }

  /** Only when it is another: a button that is in use stays. */
  #drawBelow(kind) {
    const isFiltered = Object.values(this.#filters).some(Boolean);
    if (this.#below.dataset.kind === `${kind} ${isFiltered}`) return;
    this.#below.dataset.kind = `${kind} ${isFiltered}`;
    fill(this.#below, kind === "more" ? this.#moreButton() : kind === "none" ? this.#empty(isFiltered) : null);
  }

  #moreButton() {
    const button = h("button", { type: "button" }, "Show more");
    button.addEventListener("click", () => this.#more(button));
    return button;
  }

  #empty(isFiltered) {
    if (isFiltered)
      return h(
        "div",
        { class: "empty" },
        icon("search"),
        h("h2", {}, "Nothing matches"),
        h("p", {}, "No application of yours matches these filters."),
        h("a", { class: "button", href: "#/applications?" }, "Show all"),
      );
    return h(
      "div",
      { class: "empty" },
      icon("sent"),
      h("h2", {}, "No applications yet"),
      h("p", {}, "Submit the first one, and follow it here from pending to its end."),
      h("a", { class: "button primary", href: "#/submit" }, "Submit an application"),
    );
  }

  #drawRow(element, one) {
    const [first] = one.jobs;
    const { sign, link, company, more, portal, reason, time, actions } = partsOf(element);
    setBadge(sign, one.status);
    set(link, { href: addressOf(`/applications/${one.application_id}`) });
    say(link, titleOf(first));
    say(company, first?.company_name ?? "");
    say(more, one.job_count > 1 ? `+ ${counted(one.job_count - 1, "job")}` : "");
    say(portal, first?.portal ?? "");
    say(reason, one.error_reason ?? "");
    setWhen(time, one.created_at);
    if (actions.dataset.of === one.status) return;
    actions.dataset.of = one.status;
    fill(
      actions,
      actionFor(one, nameOf(one), (position) => this.#look(position)),
    );
  }
}

function row() {
  const parts = {
    sign: badge("pending"),
    link: h("a", { class: "cover" }),
    company: h("span", { class: "company" }),
    more: h("span", { class: "more" }),
    reason: h("p", { class: "reason" }),
    portal: h("span", { class: "portal" }),
    time: h("time"),
    actions: h("div", { class: "actions" }),
  };
  const { sign, link, company, more, reason, portal, time, actions } = parts;
  const what = h("div", { class: "what" }, h("p", { class: "name" }, link, company, more), reason);
  return withParts(h("li", { class: "row" }, sign, what, h("div", { class: "where" }, portal), time, actions), parts);
}

/** As it is after an update; a job without a result is where its application is. */
function followed(application, { status, error_reason, timestamp, position }) {
  const jobs = application.jobs.map((job) =>
    ["success", "failed"].includes(job.status) && status !== "pending" ? job : { ...job, status },
  );
  return { status, error_reason: error_reason ?? null, updated_at: timestamp, position, jobs };
}

const pick = (query) => Object.fromEntries(FIELDS.map(([name]) => [name, query[name] ?? ""]));
