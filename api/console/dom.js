/*
 * Elements without markup strings. Whatever comes from users becomes text or an attribute, never HTML: the content
 * security policy (trusted types) lets nothing else happen.
 */

/** An element. `on...` are listeners; true and false set and remove an attribute; null and false are no children. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  set(element, attributes);
  element.append(...nodes(children));
  return element;
}

export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "indeterminate") element[name] = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else if (value === false || value === null || value === undefined) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value === true ? "" : value))
      element.setAttribute(name, value === true ? "" : String(value));
  }
}

/** Replaces what is inside. */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
}

function nodes(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false && child !== "");
}

/** Sets a text only where it differs, so that nothing is announced or repainted for nothing. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const keptByParent = new WeakMap();

/**
 * The children of `parent` become those of `items`, in their order. What stands for an item already is kept and
 * updated in place: focus, selection and scrolling stay where they are.
 */
export function keyed(parent, items, keyOf, make, update = () => {}) {
  const before = keptByParent.get(parent) ?? new Map();
  const after = new Map();
  for (const item of items) {
    const key = keyOf(item);
    const element = before.get(key) ?? make(item);
    update(element, item);
    after.set(key, element);
  }
  for (const [key, element] of before) if (!after.has(key)) element.remove();
  let next = parent.firstChild;
  for (const element of after.values()) {
    if (element === next) next = next.nextSibling;
    else parent.insertBefore(element, next);
  }
  keptByParent.set(parent, after);
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const parts = new WeakMap();

/** Keeps the parts of an element that change, by name; gives it back. */
export function withParts(element, named) {
  parts.set(element, named);
  return element;
}

export const partsOf = (element) => parts.get(element);

let ids = 0;

/** An id that no other element has. */
export function freshId(prefix) {
  ids += 1;
  return `${prefix}-${ids}`;
}

/** Runs `work` once, `milliseconds` after the last call. */
export function settled(milliseconds, work, signal) {
  let timer;
  signal?.addEventListener("abort", () => clearTimeout(timer));
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...args), milliseconds);
  };
}
