/* For operators: queues, dead letters, how far the read models are, what is parked, and what the service stands on. */

import { action } from "./actions.js";
import { read, Refused, write } from "./api.js";
import { confirmed } from "./dialogs.js";
import { fill, h, say } from "./dom.js";
import { clock, counted, lasting, number } from "./format.js";
import { icon } from "./icons.js";
import { unhurried } from "./live.js";
import { complain, notice, reasonOf } from "./notices.js";
import { PARKED_SHOWN, parkedStreams } from "./parked.js";
import { blockSkeletons } from "./skeletons.js";

const REFRESH = 30_000;
const SOON = 4_000;
const REPROCESS_SECONDS = 90;
const LOOKS = { running: "success", building: "processing", waiting: "pending", stopped: "failed" };

export function operations({ signal }) {
  return new Operations(signal).view;
}

class Operations {
  #signal;
  #timer;
  #queues = panel("Queues", "queues");
  #letters = panel("Dead letters", "letters");
  #projections = panel("Read models", "projections");
  #parked = panel("Parked streams", "parked");
  #health = panel("Dependencies", "health");
  #read = h("p", { class: "total", role: "status" });

  constructor(signal) {
    this.#signal = signal;
    signal.addEventListener("abort", () => clearTimeout(this.#timer));
    this.#refresh();
  }

  get view() {
    const element = h(
      "section",
      { class: "operations" },
      h(
        "div",
        { class: "heading" },
        h("h1", { tabindex: "-1" }, "Operations"),
        this.#read,
        h("button", { type: "button", onclick: () => this.#refresh() }, icon("retry"), "Refresh"),
      ),
      h(
        "div",
        { class: "panels" },
        this.#queues.element,
        this.#letters.element,
        this.#projections.element,
        this.#parked.element,
        this.#health.element,
      ),
    );
    return { title: "Operations", element };
  }

  async #refresh(wait = REFRESH) {
    clearTimeout(this.#timer);
    if (document.visibilityState === "visible") {
      const { signal } = this;
      await Promise.all([
        this.#show(read("/queue/status", {}, { signal }), [this.#queues, this.#letters], (body) =>
          this.#drawQueues(body),
        ),
        this.#show(read("/projections", {}, { signal }), [this.#projections], (body) => this.#drawProjections(body)),
        this.#show(read("/projections/parked", { limit: PARKED_SHOWN }, { signal }), [this.#parked], (body) =>
          this.#parked.draw(() => parkedStreams(body)),
        ),
        this.#show(health(this.#signal), [this.#health], (body) => this.#drawHealth(body)),
      ]);
      if (this.#signal.aborted) return;
      say(this.#read, `as of ${clock(new Date())}`);
    }
    this.#timer = setTimeout(() => this.#refresh(), unhurried(wait));
  }

  get signal() {
    return this.#signal;
  }

  async #show(reading, panels, draw) {
    try {
      draw((await reading).body);
    } catch (error) {
      if (this.#signal.aborted) return;
      const why =
        error instanceof Refused && error.status === 403 ? "Your token does not allow this." : reasonOf(error);
      for (const one of panels) one.fail(why);
    }
  }

  // -- queues -----------------------------------------------------------------------------------------------------------

  #drawQueues({ queues, dlq }) {
    this.#queues.draw(() =>
      h(
        "div",
        { class: "figures" },
        queues.map(({ name, messages, consumers, rate }, n) =>
          h(
            "div",
            { class: "figure" },
            h("p", { class: "value" }, number(messages)),
            h("p", {}, n === 0 ? "waiting for a worker" : "notifications"),
            h("p", { class: "more" }, h("code", { title: name }, name)),
            h(
              "p",
              { class: "more" },
              [counted(consumers, "consumer"), rate === null ? null : `${rate.toFixed(1)} a second`]
                .filter(Boolean)
                .join(" · "),
            ),
          ),
        ),
      ),
    );
    this.#letters.draw(() => [
      h(
        "div",
        { class: "figures" },
        h(
          "div",
          { class: "figure", data: { alarm: dlq.messages > 0 } },
          h("p", { class: "value" }, number(dlq.messages)),
          h("p", {}, "could not be processed"),
          h("p", { class: "more" }, h("code", { title: dlq.name }, dlq.name)),
        ),
      ),
      h(
        "div",
        { class: "buttons" },
        dlq.messages ? [this.#reprocess(dlq), this.#purge(dlq)] : h("p", { class: "hint" }, "Nothing to do here."),
      ),
    ]);
  }

  #reprocess({ messages }) {
    const run = () =>
      this.#do(
        "Could not reprocess",
        () => write("POST", "/queue/dlq/reprocess", { seconds: REPROCESS_SECONDS }),
        ({ moved, skipped }) =>
          `${counted(moved, "application")} tried again, ${counted(skipped, "letter")} led to nothing`,
      );
    return action({ label: "Try again", sign: "retry", of: counted(messages, "dead letter"), run });
  }

  #purge({ messages, name }) {
    const run = async () => {
      const sure = await confirmed({
        title: `Purge ${counted(messages, "dead letter")}?`,
        text: `The messages in ${name} are removed for good. Their applications stay failed, and can still be retried one by one.`,
        action: "Purge them",
      });
      if (sure)
        await this.#do(
          "Could not purge",
          () => write("DELETE", "/queue/dlq"),
          ({ purged }) => `${counted(purged, "dead letter")} removed`,
        );
    };
    return action({ label: "Purge", sign: "cancel", kind: "danger", of: counted(messages, "dead letter"), run });
  }

  async #do(failure, work, told) {
    try {
      const { body } = await work();
      notice(told(body), { kind: "good" });
    } catch (error) {
      complain(error, failure);
    }
    await this.#refresh(SOON);
  }

  // -- read models, and what they stand on ------------------------------------------------------------------------------

  #drawProjections({ data }) {
    const columns = ["Read model", "State", "Position", "Behind", "Parked"];
    const cells = ({ name, version, position, lag_events: events, lag_seconds: seconds, parked, state }) => [
      h("th", { scope: "row" }, name, h("span", { class: "more" }, ` v${version}`)),
      h(
        "td",
        {},
        h(
          "span",
          { class: "badge", data: { look: LOOKS[state] ?? "pending" } },
          icon(LOOKS[state] ?? "pending"),
          state,
        ),
      ),
      h("td", { class: "number" }, number(position)),
      h("td", { class: "number" }, events ? `${counted(events, "event")}, ${lasting(seconds)}` : "nothing"),
      h("td", { class: "number", data: { alarm: parked > 0 } }, number(parked)),
    ];
    this.#projections.draw(() =>
      h(
        "div",
        { class: "scrolled", tabindex: "0", role: "region", "aria-label": "Table of read models" },
        h(
          "table",
          {},
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              columns.map((name, n) => h("th", { scope: "col", class: n > 1 ? "number" : null }, name)),
            ),
          ),
          h(
            "tbody",
            {},
            data.map((one) => h("tr", {}, cells(one))),
          ),
        ),
      ),
    );
  }

  #drawHealth({ version, environment, dependencies }) {
    this.#health.draw(() => [
      h(
        "ul",
        { class: "health" },
        dependencies.map(({ name, status, latency_ms: latency, message }) => {
          const look = status === "healthy" ? "success" : "failed";
          return h(
            "li",
            {},
            h("span", { class: "badge", data: { look } }, icon(look), status),
            h("span", { class: "name" }, name.replaceAll("_", " ")),
            h("span", { class: "more" }, latency === null ? (message ?? "") : `${latency.toFixed(1)} ms`),
          );
        }),
      ),
      h("p", { class: "hint" }, `Release ${version}, ${environment}`),
    ]);
  }
}

/** 503 tells the same, of what is not well. */
async function health(signal) {
  const response = await fetch("/health", { signal, cache: "no-store", credentials: "omit" });
  return { body: await response.json() };
}

function panel(title, name) {
  const content = h("div", { class: "content" }, blockSkeletons(1));
  const heading = h("h2", { id: `${name}-title`, tabindex: "-1" }, title);
  const element = h("section", { class: `panel ${name}`, "aria-labelledby": heading.id }, heading, content);
  return {
    element,
    /** Whoever is in it stays at the same button, or else in the same panel. */
    draw(make) {
      const focused = content.contains(document.activeElement) ? document.activeElement.textContent : null;
      fill(content, make());
      if (focused === null) return;
      const same = [...content.querySelectorAll("button, [tabindex]")].find((one) => one.textContent === focused);
      (same ?? heading).focus({ preventScroll: true });
    },
    fail: (why) => fill(content, h("p", { class: "problem" }, icon("alert"), h("span", {}, why))),
  };
}
