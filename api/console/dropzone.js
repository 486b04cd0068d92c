/* A place to drop a PDF on, which is also a button to choose one by. */

import { fill, freshId, h, say, set } from "./dom.js";
import { size } from "./format.js";
import { icon } from "./icons.js";

const LARGEST = 15 * 1024 ** 2; // whatever the service's own limit is, it is no more than this

export function dropZone() {
  return new DropZone();
}

class DropZone {
  file = null;
  #input = h("input", { id: freshId("cv"), type: "file", accept: "application/pdf,.pdf", class: "unseen" });
  #problem = h("p", { class: "problem", id: freshId("cv-problem"), role: "alert" });
  #label = h("label", { class: "drop", for: this.#input.id });
  #chosen = h("div", { class: "chosen", hidden: true });
  element = h("div", { class: "cv" }, this.#input, this.#label, this.#chosen, this.#problem);

  constructor() {
    set(this.#input, { "aria-describedby": this.#problem.id });
    fill(
      this.#label,
      icon("file"),
      h("span", {}, h("strong", {}, "Choose a PDF"), " or drop it here"),
      h("span", { class: "hint" }, "Your resume is made from it. Without one, only a cover letter is written."),
    );
    this.#input.addEventListener("change", () => this.#take(this.#input.files[0]));
    for (const kind of ["dragenter", "dragover"])
      this.element.addEventListener(kind, (event) => this.#over(event, true));
    for (const kind of ["dragleave", "dragend"])
      this.element.addEventListener(kind, (event) => this.#over(event, false));
    this.element.addEventListener("drop", (event) => {
      this.#over(event, false);
      this.#take(event.dataTransfer.files[0]);
    });
  }

  complain(text) {
    say(this.#problem, text);
    set(this.#input, { "aria-invalid": text ? "true" : null });
  }

  #over(event, isOver) {
    event.preventDefault();
    this.#label.classList.toggle("over", isOver);
  }

  async #take(file) {
    if (!file) return;
    this.complain("");
    if (file.size > LARGEST) return this.complain(`${file.name} has ${size(file.size)}; ${size(LARGEST)} is the most.`);
    if (!(await isPdf(file))) return this.complain(`${file.name} is not a PDF.`);
    this.file = new File([file], file.name, { type: "application/pdf", lastModified: file.lastModified });
    return this.#draw();
  }

  #draw() {
    const wasFocused = document.activeElement === this.#input;
    for (const chooser of [this.#label, this.#input]) chooser.hidden = this.file !== null;
    this.#chosen.hidden = this.file === null;
    if (!this.file) return;
    const remove = h(
      "button",
      { type: "button", class: "plain", "aria-label": `Remove ${this.file.name}` },
      icon("cancel"),
    );
    remove.addEventListener("click", () => {
      this.file = null;
      this.#input.value = "";
      this.#draw();
      this.#input.focus();
    });
    fill(
      this.#chosen,
      icon("file"),
      h("span", { class: "name" }, this.file.name),
      h("span", { class: "hint" }, size(this.file.size)),
      remove,
    );
    if (wasFocused) remove.focus();
  }
}

/** As the API looks at it: the mark is near the beginning. */
async function isPdf(file) {
  const text = new TextDecoder("latin1").decode(await file.slice(0, 1024).arrayBuffer());
  return text.includes("%PDF-");
}
