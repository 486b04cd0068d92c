/* One application: where it stands, its jobs with what was written for them, and its whole history. */

import { actionFor } from "./actions.js";
import { read, Refused } from "./api.js";
import { documentsDialog } from "./documents.js";
import { fill, h, keyed, partsOf, say, set, withParts } from "./dom.js";
import {
  badge,
  clock,
  counted,
  exactly,
  nameOf,
  number,
  setBadge,
  setWhen,
  shortId,
  STATUSES,
  titleOf,
} from "./format.js";
import { foldEvents, gapBefore, sentenceOf } from "./history.js";
import { icon } from "./icons.js";
import { live, throttled, unhurried } from "./live.js";
import { announce, notice, trouble } from "./notices.js";
import { blockSkeletons } from "./skeletons.js";

const LOOK_AGAIN = 700;
const WATCH = [2_000, 3_000, 5_000, 10_000, 20_000]; // a job's result is no change of status, so no update tells of it
const LATEST = 60; // events that are shown at first

export function application({ id, signal }) {
  return new ApplicationView(id.split("-")[0], signal).view;
}

class ApplicationView {
  #id;
  #signal;
  #application = null;
  #events = [];
  #watched = 0;
  #timer;
  #whole = false;
  #element = h("section", { class: "application", "aria-busy": "true" });
  #parts = null;

  constructor(id, signal) {
    this.#id = id;
    this.#signal = signal;
    const look = throttled(LOOK_AGAIN, () => this.#read(), signal);
    live.on("application", (update) => update.application_id === id && this.#isNews(update) && look(), signal);
    live.on("refresh", look, signal);
    signal.addEventListener("abort", () => clearTimeout(this.#timer));
    fill(this.#element, back(), h("h1", { tabindex: "-1" }, "Application"), blockSkeletons());
    live.ready().then(() => this.#read());
  }

  get view() {
    return { title: "Application", element: this.#element };
  }

  #isNews({ position }) {
    return position > (this.#application?.position ?? 0);
  }

  async #read() {
    clearTimeout(this.#timer);
    try {
      const { body } = await read(`/applications/${encodeURIComponent(this.#id)}/events`, {}, { signal: this.#signal });
      const before = this.#application?.status;
      this.#events = body.events;
      this.#application = foldEvents(body.application_id, body.events);
      this.#draw();
      if (before && before !== this.#application.status) {
        this.#watched = 0;
        announce(`${nameOf(this.#application)}: ${STATUSES[this.#application.status]}`);
      }
      this.#watchJobs();
    } catch (error) {
      if (this.#signal.aborted || error?.name === "AbortError") return;
      if (this.#application) this.#watchJobs();
      else this.#failed(error);
    }
  }

  #watchJobs() {
    const isOpen = this.#application.status === "processing" && this.#application.job_count > 1;
    if (!isOpen || document.visibilityState === "hidden") return;
    const wait = WATCH[Math.min(this.#watched, WATCH.length - 1)];
    this.#watched += 1;
    this.#timer = setTimeout(() => this.#read(), unhurried(wait));
  }

  #failed(error) {
    this.#element.removeAttribute("aria-busy");
    const gone = error instanceof Refused && error.status === 404;
    fill(
      this.#element,
      back(),
      h("h1", { tabindex: "-1" }, gone ? "No such application" : "Application"),
      gone
        ? h(
            "div",
            { class: "empty" },
            icon("search"),
            h("p", {}, "You have no application with this id. Perhaps it is another user’s."),
          )
        : trouble(error, () => this.#read()),
    );
  }

  // -- drawing ----------------------------------------------------------------------------------------------------------

  #draw() {
    this.#parts ??= this.#frame();
    const { badge: sign, name, about, reason, actions, jobs, history, earlier, count } = this.#parts;
    const one = this.#application;
    setBadge(sign, one.status);
    say(name, nameOf(one));
    document.title = `${nameOf(one)} · Application Manager`;
    say(about.company, [one.jobs[0].company_name, one.jobs[0].location].filter(Boolean).join(", "));
    setWhen(about.created, one.created_at);
    setWhen(about.updated, one.updated_at);
    say(about.style, one.style ?? "none");
    reason.hidden = !one.error_reason || one.status === "cancelled";
    say(reason.lastChild, one.error_reason ?? "");
    if (actions.dataset.status !== one.status) {
      actions.dataset.status = one.status;
      fill(
        actions,
        actionFor(one, nameOf(one), () => this.#read()),
      );
    }
    say(count, one.job_count > 1 ? jobCounts(one.jobs) : "");
    keyed(
      jobs,
      one.jobs,
      (job) => job.app_id,
      (job) => jobElement(job),
      (element, job) => drawJob(element, job, () => this.#application.position),
    );
    this.#drawHistory(history, earlier);
  }

  #drawHistory(history, earlier) {
    const shown = this.#whole ? this.#events : this.#events.slice(-LATEST);
    const hidden = this.#events.length - shown.length;
    earlier.hidden = !hidden;
    say(earlier, `Show ${counted(hidden, "earlier event")}`);
    const newestFirst = shown.map((event, n) => [event, shown[n - 1]]).reverse();
    const isFirst = !history.childElementCount;
    keyed(
      history,
      newestFirst,
      ([event]) => event.version,
      ([event, former]) => historyElement(event, former, this.#application, !isFirst),
    );
  }

  #frame() {
    this.#element.removeAttribute("aria-busy");
    const about = { company: h("p", { class: "company" }), created: h("time"), updated: h("time"), style: h("dd") };
    const parts = {
      badge: badge("pending"),
      name: h("h1", { tabindex: "-1" }),
      about,
      reason: h("p", { class: "callout", role: "note" }, icon("alert"), h("span")),
      actions: h("div", { class: "actions" }),
      jobs: h("ul", { class: "jobs" }),
      history: h("ol", { class: "history" }),
      earlier: h("button", { type: "button", class: "plain" }),
      count: h("span", { class: "total" }),
    };
    parts.earlier.addEventListener("click", () => {
      this.#whole = true;
      this.#draw();
    });
    const focused = this.#element.contains(document.activeElement);
    fill(
      this.#element,
      back(),
      h("header", { class: "of-one" }, h("div", {}, parts.badge, parts.name, about.company), parts.actions),
      parts.reason,
      h(
        "dl",
        { class: "facts" },
        fact("Submitted", about.created),
        fact("Last change", about.updated),
        h("div", {}, h("dt", {}, "Style"), about.style),
        h("div", {}, h("dt", {}, "Id"), h("dd", {}, copyButton(this.#id))),
      ),
      h(
        "div",
        { class: "columns" },
        h(
          "section",
          { "aria-labelledby": "jobs-title" },
          h("h2", { id: "jobs-title" }, "Jobs ", parts.count),
          parts.jobs,
        ),
        h(
          "section",
          { "aria-labelledby": "history-title" },
          h("h2", { id: "history-title" }, "History"),
          parts.history,
          parts.earlier,
        ),
      ),
    );
    if (focused) parts.name.focus({ preventScroll: true });
    return parts;
  }
}

const back = () => h("a", { class: "back", href: "#/applications" }, icon("back"), "Applications");

const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));

function jobCounts(jobs) {
  const of = (status) => jobs.filter((job) => job.status === status).length;
  const told = Object.entries(STATUSES).flatMap(([status, name]) =>
    of(status) ? [`${number(of(status))} ${name.toLowerCase()}`] : [],
  );
  return told.join(", ");
}

function copyButton(id) {
  return h(
    "button",
    {
      type: "button",
      class: "plain id",
      title: `Copy ${id}`,
      "aria-label": `Copy the id ${id}`,
      async onclick() {
        try {
          await navigator.clipboard.writeText(id);
          notice("The id is copied", { kind: "good" });
        } catch {
          notice(id); // without a secure origin there is no clipboard
        }
      },
    },
    h("code", {}, shortId(id)),
    icon("copy"),
  );
}

// -- jobs ---------------------------------------------------------------------------------------------------------------

const FIELDS = {
  portal: "Portal",
  location: "Location",
  workplace_type: "Workplace",
  experience: "Experience",
  field: "Field",
  posted_date: "Posted",
  job_state: "State",
  skills_required: "Skills",
  short_description: "In short",
  description: "Description",
  apply_link: "Link",
};

function jobElement(job) {
  const sign = badge(job.status);
  const result = h("p", { class: "result" });
  const buttons = h("div", { class: "buttons" });
  const filled = Object.entries(FIELDS).filter(([name]) => job[name]?.length);
  const element = h(
    "li",
    { class: "job" },
    sign,
    h(
      "div",
      { class: "what" },
      h("h3", {}, titleOf(job)),
      h("p", { class: "company" }, [job.company_name, job.location, job.portal].filter(Boolean).join(" · ")),
      result,
      filled.length
        ? h(
            "details",
            {},
            h("summary", {}, "All that was given"),
            h(
              "dl",
              {},
              filled.map(([name, label]) => h("div", {}, h("dt", {}, label), h("dd", {}, shown(name, job[name])))),
            ),
          )
        : null,
    ),
    buttons,
  );
  return withParts(element, { sign, result, buttons });
}

function shown(name, value) {
  if (name === "skills_required") return value.join(", ");
  if (name === "apply_link" && /^https?:\/\//i.test(value))
    return h("a", { href: value, rel: "noopener noreferrer nofollow", target: "_blank" }, value);
  return value;
}

function drawJob(element, job, position) {
  const { sign, result, buttons } = partsOf(element);
  setBadge(sign, job.status);
  say(result, job.result === "failed" ? job.why : job.reference ? `Reference ${job.reference}` : "");
  set(result, { class: `result ${job.result ?? ""}` });
  if (buttons.dataset.of === String(job.result)) return;
  buttons.dataset.of = String(job.result);
  fill(
    buttons,
    job.result
      ? h(
          "button",
          {
            type: "button",
            "aria-label": `Documents of ${titleOf(job)}`,
            onclick: () => documentsDialog(job, position()),
          },
          icon("file"),
          "Documents",
        )
      : null,
  );
}

// -- history ------------------------------------------------------------------------------------------------------------

function historyElement(event, former, application, isNew) {
  const [sign, text, more] = sentenceOf(event, application);
  const at = new Date(event.occurred_at);
  const gap = gapBefore(event, former);
  return h(
    "li",
    { class: isNew ? "new" : null, data: { sign } },
    h("span", { class: "mark", "aria-hidden": "true" }, icon(sign)),
    h("div", {}, h("p", {}, text), more ? h("p", { class: "more" }, more) : null),
    h(
      "time",
      { class: "fixed", datetime: event.occurred_at, title: `${exactly(at)}, event ${event.position}` },
      clock(at),
      gap ? h("span", { class: "gap" }, gap) : null,
    ),
  );
}
