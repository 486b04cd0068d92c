/* The resume and the cover letter of a job, as paper; of writers that are not known here, all that they gave. */

import { read } from "./api.js";
import { open } from "./dialogs.js";
import { fill, h, set } from "./dom.js";
import { titleOf } from "./format.js";
import { icon } from "./icons.js";
import { complain, notice, trouble } from "./notices.js";
import { blockSkeletons } from "./skeletons.js";

const KINDS = [
  ["cover_letter", "Cover letter", letter],
  ["resume_optimized", "Resume", resume],
];

export function documentsDialog(job, position) {
  const leaving = new AbortController();
  const paper = h("div", { class: "paper", tabindex: "0", role: "region", "aria-label": "Document" }, blockSkeletons());
  const choice = h("div", { class: "chips", role: "group", "aria-label": "Which document" });
  const copy = h("button", { type: "button", disabled: true }, icon("copy"), "Copy as text");
  const dialog = open(
    { class: "wide", "aria-labelledby": "documents-title" },
    [
      h(
        "header",
        {},
        h(
          "div",
          {},
          h("h2", { id: "documents-title" }, titleOf(job)),
          h("p", { class: "company" }, job.company_name ?? ""),
        ),
        h(
          "button",
          { type: "button", class: "plain", "aria-label": "Close", onclick: () => dialog.close() },
          icon("cancel"),
        ),
      ),
      h("div", { class: "bar" }, choice, copy),
      paper,
    ],
    () => leaving.abort(),
  );
  copy.addEventListener("click", () => copied(paper.innerText));
  load({ job, position, paper, choice, copy, signal: leaving.signal });
}

async function load(parts) {
  const { job, position, paper, choice, copy, signal } = parts;
  const list = job.result === "success" ? "applied" : "fail_applied";
  try {
    const { body } = await read(`/${list}/${job.app_id}`, {}, { after: position, signal });
    const buttons = KINDS.map(([name, label, draw]) => {
      const button = h("button", { type: "button", class: "chip" }, label);
      button.addEventListener("click", () => {
        for (const one of buttons) set(one, { "aria-pressed": String(one === button) });
        fill(paper, body[name] ? draw(body[name]) : missing(label, job));
        copy.disabled = !body[name];
        paper.scrollTop = 0;
      });
      return button;
    });
    fill(choice, buttons);
    buttons[body.cover_letter || !body.resume_optimized ? 0 : 1].click();
  } catch (error) {
    if (!signal.aborted)
      fill(
        paper,
        trouble(error, () => load(parts)),
      );
  }
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    notice("The text is copied", { kind: "good" });
  } catch (error) {
    complain(error, "This browser does not let the page copy");
  }
}

function missing(label, job) {
  const why =
    label === "Resume"
      ? "No CV was given with the application, or its text cannot be read."
      : job.result === "failed"
        ? "None had been made before the job failed."
        : "None was made.";
  return h("div", { class: "empty" }, icon(label === "Resume" ? "file" : "letter"), h("p", {}, why));
}

// -- as paper -----------------------------------------------------------------------------------------------------------

function letter(document) {
  if (!Array.isArray(document.paragraphs)) return anything(document);
  return h(
    "article",
    { class: "letter" },
    document.subject && h("h3", {}, document.subject),
    document.greeting && h("p", {}, document.greeting),
    document.paragraphs.map((text) => h("p", {}, String(text))),
    document.closing && h("p", {}, document.closing),
    document.signature && h("p", { class: "signature" }, document.signature),
    document.contact?.length ? h("p", { class: "contact" }, document.contact.join(" · ")) : null,
  );
}

function resume(document) {
  if (!Array.isArray(document.experience) || !Array.isArray(document.skills)) return anything(document);
  const contact = Object.values(document.contact ?? {}).flat();
  const order = document.style?.sections ?? Object.keys(SECTIONS);
  return h(
    "article",
    { class: "resume" },
    document.name && h("h3", {}, document.name),
    document.headline && h("p", { class: "headline" }, document.headline),
    contact.length ? h("p", { class: "contact" }, contact.join(" · ")) : null,
    order.map((name) => SECTIONS[name]?.(document)),
  );
}

const section = (title, ...children) => h("section", {}, h("h4", {}, title), ...children);
const listed = (lines) =>
  h(
    "ul",
    {},
    lines.map((line) => h("li", {}, String(line))),
  );

const SECTIONS = {
  summary: ({ summary }) => summary && section("Summary", h("p", {}, summary)),
  skills: ({ skills }) =>
    skills.length
      ? section(
          "Skills",
          h(
            "ul",
            { class: "skills" },
            skills.map(({ name, matched }) =>
              h(
                "li",
                { class: matched ? "matched" : null },
                name,
                matched ? h("span", { class: "unseen" }, " (asked for)") : null,
              ),
            ),
          ),
        )
      : null,
  experience: ({ experience }) =>
    experience.length
      ? section(
          "Experience",
          experience.map(({ heading, highlights }) =>
            h(
              "div",
              { class: "position" },
              h("p", { class: "position-title" }, heading.join(" · ")),
              highlights.length ? listed(highlights) : null,
            ),
          ),
        )
      : null,
  education: ({ education }) => (education?.length ? section("Education", listed(education)) : null),
  other: ({ other }) => other?.map(({ heading, lines }) => section(heading, listed(lines))),
};

/** What has another shape: names and values, however deep. */
function anything(value) {
  if (Array.isArray(value))
    return h(
      "ul",
      {},
      value.map((one) => h("li", {}, anything(one))),
    );
  if (value !== null && typeof value === "object")
    return h(
      "dl",
      { class: "anything" },
      Object.entries(value).map(([name, one]) =>
        h("div", {}, h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, anything(one))),
      ),
    );
  return h("span", {}, value === null ? "none" : String(value));
}
