/*
 * Submitting: jobs in a form or as JSON, and a CV. What is sent is sent under a key of its own: a second click, or a
 * second try after no answer, is the same submission and not another. Other content gets another key.
 */

import { freshKey, Refused, Unreachable, write } from "./api.js";
import { dropZone } from "./dropzone.js";
import { fill, freshId, h, say, set } from "./dom.js";
import { icon } from "./icons.js";
import { JobForms } from "./jobforms.js";
import { parseDocument, problemsByField } from "./jobs_json.js";
import { notice, reasonOf } from "./notices.js";
import { go } from "./router.js";

const STYLES = ["modern", "classic", "creative", "concise"];
const SUBMIT_SECONDS = 120;
const EXAMPLE = `{"jobs": [{"title": "Baker", "company_name": "Bread & Co", "portal": "sandbox"}]}`;
const HOW = `{"jobs": [job, …]} or [job, …] is one application; [{"jobs": [job, …]}, …] is a batch of up to 100.`;

export function submit() {
  return new Submission().view;
}

class Submission {
  #mode = "form";
  #forms = new JobForms();
  #cv = dropZone();
  #json = h("textarea", { id: freshId("json"), rows: 14, spellcheck: "false", class: "code", placeholder: EXAMPLE });
  #jsonProblem = h("p", { class: "problem", id: freshId("json-problem"), role: "alert" });
  #style = h("input", {
    id: freshId("style"),
    list: "styles",
    maxlength: 100,
    autocomplete: "off",
    placeholder: "modern",
  });
  #styleProblem = h("p", { class: "problem", id: freshId("style-problem") });
  #asBatch = h("input", { id: freshId("batch"), type: "checkbox" });
  #problems = h("div", { class: "callout bad", role: "alert", hidden: true, tabindex: "-1" });
  #panels = h("div", { class: "panels" });
  #modes = h("div", { class: "chips", role: "group", "aria-label": "How to tell the jobs" });
  #button = h("button", { type: "submit", class: "primary large" }, icon("sent"), h("span", {}, "Submit"));
  #again = { content: null, key: null };

  constructor() {
    set(this.#json, { "aria-describedby": this.#jsonProblem.id });
    set(this.#style, { "aria-describedby": this.#styleProblem.id });
    this.#json.addEventListener("input", () => this.#sayJson(""));
    this.#forms.addEventListener("change", () => this.#drawButton());
    this.#asBatch.addEventListener("change", () => this.#drawButton());
    this.#drawMode();
  }

  get view() {
    const form = h(
      "form",
      { class: "submission", novalidate: true },
      h("div", { class: "heading" }, h("h1", { tabindex: "-1" }, "Submit"), this.#modes),
      this.#problems,
      this.#panels,
      h(
        "div",
        { class: "beside" },
        h("section", {}, h("h2", {}, "CV"), this.#cv.element),
        h(
          "section",
          {},
          h("h2", {}, "Documents"),
          h(
            "div",
            { class: "field" },
            h("label", { for: this.#style.id }, "Style"),
            this.#style,
            h(
              "datalist",
              { id: "styles" },
              STYLES.map((value) => h("option", { value })),
            ),
            h("p", { class: "hint" }, "Of the resume and the cover letter: modern, classic, creative or concise."),
            this.#styleProblem,
          ),
        ),
      ),
      h("div", { class: "buttons" }, this.#button),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    return { title: "Submit", element: form };
  }

  #drawMode() {
    const choose = (mode) => () => {
      this.#mode = mode;
      this.#drawMode();
    };
    const modes = [
      ["form", "Form"],
      ["json", "JSON"],
    ];
    fill(
      this.#modes,
      modes.map(([mode, label]) =>
        h(
          "button",
          { type: "button", class: "chip", "aria-pressed": String(this.#mode === mode), onclick: choose(mode) },
          label,
        ),
      ),
    );
    fill(this.#panels, this.#mode === "form" ? this.#formPanel() : this.#jsonPanel());
    this.#drawButton();
  }

  #formPanel() {
    return [
      this.#forms.element,
      h(
        "div",
        { class: "check apart" },
        this.#asBatch,
        h("label", { for: this.#asBatch.id }, "Each job is an application of its own, in a batch"),
      ),
    ];
  }

  #jsonPanel() {
    const file = h("input", {
      type: "file",
      accept: ".json,application/json",
      class: "unseen",
      tabindex: "-1",
      "aria-hidden": "true",
    });
    file.addEventListener("change", async () => {
      if (file.files[0]) this.#json.value = await file.files[0].text();
      this.#sayJson("");
    });
    return [
      h(
        "div",
        { class: "field" },
        h("label", { for: this.#json.id }, "Jobs as JSON"),
        this.#json,
        h("p", { class: "hint" }, HOW),
        this.#jsonProblem,
      ),
      h(
        "div",
        {},
        h("button", { type: "button", onclick: () => file.click() }, icon("file"), "Read from a file"),
        file,
      ),
    ];
  }

  #drawButton() {
    const jobs = this.#forms.count;
    this.#asBatch.disabled = jobs < 2;
    if (jobs < 2) this.#asBatch.checked = false;
    const asBatch = this.#mode === "form" && this.#asBatch.checked;
    say(
      this.#button.lastChild,
      asBatch ? `Submit a batch of ${jobs}` : this.#mode === "form" && jobs > 1 ? `Submit with ${jobs} jobs` : "Submit",
    );
  }

  // -- sending ----------------------------------------------------------------------------------------------------------

  async #submit() {
    if (this.#button.getAttribute("aria-disabled")) return;
    this.#forget();
    const content = this.#content();
    if (!content) return;
    set(this.#button, { "aria-disabled": "true", "aria-busy": "true" });
    try {
      const { body } = await this.#send(content);
      this.#again = { content: null, key: null };
      if (body.batch_id) go(`/batches/${body.batch_id}`);
      else go(`/applications/${body.application_id}`);
      notice(body.batch_id ? `Submitted: a batch of ${body.total}` : "Submitted: it is stored, and will be processed", {
        kind: "good",
      });
    } catch (error) {
      this.#failed(error, content);
    } finally {
      set(this.#button, { "aria-disabled": null, "aria-busy": null });
    }
  }

  /** What is to be sent: `path`, the name of its field, the document; null if it cannot be made. */
  #content() {
    const style = this.#style.value.trim();
    if (this.#mode === "form") {
      const jobs = this.#forms.jobs;
      if (!this.#asBatch.checked) return { path: "/applications", field: "jobs", document: { jobs }, style };
      const items = jobs.map((job) => ({ jobs: [job], style: style || null }));
      return { path: "/batch/applications", field: "items", document: items, style: "" };
    }
    try {
      return parseDocument(this.#json.value, style);
    } catch (error) {
      this.#sayJson(error.message);
      this.#json.focus();
      return null;
    }
  }

  #send({ path, field, document, style }) {
    const form = new FormData();
    const text = JSON.stringify(document);
    const file = this.#cv.file;
    form.set(field, text);
    if (style) form.set("style", style);
    if (file) form.set("cv", file, file.name);
    const content = JSON.stringify([path, text, style, file && [file.name, file.size, file.lastModified]]);
    if (this.#again.content !== content) this.#again = { content, key: freshKey() };
    return write("POST", path, {
      body: form,
      headers: { "X-Idempotency-Key": this.#again.key },
      seconds: SUBMIT_SECONDS,
    });
  }

  // -- what is wrong ----------------------------------------------------------------------------------------------------

  #failed(error, content) {
    const certain = error instanceof Refused && error.status < 500;
    if (certain && error.status !== 409) this.#again = { content: null, key: null };
    const safe = error instanceof Unreachable || (error instanceof Refused && error.status >= 500);
    const told = safe ? `${reasonOf(error)} Submit it again: it is made only once.` : reasonOf(error);
    const placed = error instanceof Refused ? this.#place(error, content) : [];
    fill(
      this.#problems,
      icon("alert"),
      h(
        "div",
        {},
        h("p", {}, error.status === 401 ? "Not submitted yet: sign in again, then submit." : told),
        placed.length
          ? h(
              "ul",
              {},
              placed.map((text) => h("li", {}, text)),
            )
          : null,
      ),
    );
    this.#problems.hidden = false;
    (this.#firstWrong() ?? this.#problems).focus();
  }

  /** Each problem at its field. Gives those that no field of this page shows. */
  #place(refused, content) {
    const { byJob, ofFields, others } = problemsByField(refused, content);
    if (ofFields.cv) this.#cv.complain(ofFields.cv);
    if (ofFields.style) {
      say(this.#styleProblem, ofFields.style);
      set(this.#style, { "aria-invalid": "true" });
    }
    if (this.#mode === "json") {
      this.#sayJson([...byJob.map(({ where, message }) => `${where} ${message}`), ...others].join("\n"));
      return [];
    }
    return [...others, ...this.#forms.complain(byJob)];
  }

  #sayJson(text) {
    say(this.#jsonProblem, text);
    set(this.#json, { "aria-invalid": text ? "true" : null });
  }

  #firstWrong() {
    return this.#panels.closest("form")?.querySelector("[aria-invalid=true]");
  }

  #forget() {
    this.#problems.hidden = true;
    this.#sayJson("");
    say(this.#styleProblem, "");
    set(this.#style, { "aria-invalid": null });
    this.#cv.complain("");
    this.#forms.forget();
  }
}
