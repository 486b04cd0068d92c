/* The jobs of a submission as cards to fill in. */

import { freshId, h, keyed, say, set } from "./dom.js";
import { counted } from "./format.js";
import { icon } from "./icons.js";

const MOST = 100; // more are sent as JSON
const SHORT = [
  ["title", "Title", 2_000],
  ["company_name", "Company", 2_000],
  ["location", "Location", 2_000],
  ["portal", "Portal", 2_000],
];
const LONG = [
  ["apply_link", "Link", 2_000],
  ["skills_required", "Skills, with commas between", 20_000],
  ["description", "Description", 50_000],
];

export class JobForms extends EventTarget {
  #jobs = [];
  #list = h("ol", { class: "job-forms" });
  #add = h("button", { type: "button" }, icon("submit"), "Add a job");
  element = h("div", { class: "jobs-of-form" }, this.#list, this.#add);

  constructor() {
    super();
    this.#add.addEventListener("click", () => {
      this.#insert(this.#jobs.at(-1)?.values.portal ?? "");
      this.#list.lastElementChild.querySelector("input").focus();
    });
    this.#insert("");
  }

  get count() {
    return this.#jobs.length;
  }

  /** As the API takes them: what is empty is not sent. */
  get jobs() {
    return this.#jobs.map(({ values }) => {
      const filled = Object.entries(values).filter(([, value]) => value !== "");
      return Object.fromEntries(
        filled.map(([name, value]) => [name, name === "skills_required" ? split(value) : value]),
      );
    });
  }

  /** Each problem at its field; gives those that there is no field for. */
  complain(problems) {
    return problems.flatMap(({ job, name, where, message }) => {
      const field = this.#jobs[job]?.fields[name];
      if (!field) return [`${where}: ${message}`];
      field.complain(message);
      return [];
    });
  }

  forget() {
    for (const { fields } of this.#jobs) for (const field of Object.values(fields)) field.complain("");
  }

  #insert(portal) {
    this.#jobs.push({ key: freshId("job"), values: { portal }, fields: {} });
    this.#draw();
  }

  #remove(job) {
    const place = this.#jobs.indexOf(job);
    this.#jobs.splice(place, 1);
    this.#draw();
    (this.#list.children[Math.max(0, place - 1)]?.querySelector("input") ?? this.#add).focus();
  }

  #draw() {
    keyed(
      this.#list,
      this.#jobs,
      (job) => job.key,
      (job) => this.#card(job),
      (element, job) => this.#number(element, job),
    );
    this.#add.hidden = this.#jobs.length >= MOST;
    this.dispatchEvent(new Event("change"));
  }

  #number(element, job) {
    const text =
      this.#jobs.length > 1 ? `Job ${this.#jobs.indexOf(job) + 1} of ${counted(this.#jobs.length, "job")}` : "Job";
    say(element.querySelector("legend"), text.replace(/ jobs?$/, ""));
    element.querySelector("button.remove").hidden = this.#jobs.length === 1;
  }

  #card(job) {
    const field = ([name, label, longest]) => {
      const made = textField(name, label, longest, job.values[name] ?? "", (value) => {
        job.values[name] = value;
      });
      job.fields[name] = made;
      return made.element;
    };
    return h(
      "li",
      {},
      h(
        "fieldset",
        { class: "job-form" },
        h("legend", {}, "Job"),
        h(
          "button",
          { type: "button", class: "plain remove", "aria-label": "Remove this job", onclick: () => this.#remove(job) },
          icon("cancel"),
        ),
        h("div", { class: "grid" }, SHORT.map(field)),
        h("details", {}, h("summary", {}, "More about the job"), h("div", { class: "grid" }, LONG.map(field))),
      ),
    );
  }
}

const split = (text) =>
  text
    .split(",")
    .map((one) => one.trim())
    .filter(Boolean);

function textField(name, label, longest, value, changed) {
  const id = freshId(name);
  const problem = h("p", { class: "problem", id: `${id}-problem` });
  const kind = name === "description" ? "textarea" : "input";
  const input = h(kind, {
    id,
    value,
    maxlength: longest,
    autocomplete: "off",
    "aria-describedby": problem.id,
    ...(kind === "textarea" ? { rows: 4 } : { type: "text" }),
  });
  const complain = (text) => {
    say(problem, text);
    set(input, { "aria-invalid": text ? "true" : null });
    if (text) input.closest("details")?.setAttribute("open", "");
  };
  input.addEventListener("input", () => {
    changed(input.value.trim());
    complain("");
  });
  return { element: h("div", { class: `field ${name}` }, h("label", { for: id }, label), input, problem), complain };
}
