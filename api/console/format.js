/* How things are written: times, counts, statuses, names. */

import { h, say } from "./dom.js";
import { icon } from "./icons.js";

const ABSOLUTE = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const NUMBER = new Intl.NumberFormat("en");
const UNITS = [
  ["days", 86_400, 2],
  ["h", 3_600, 1.5],
  ["min", 60, 1.5],
  ["s", 1, 0],
];

export const STATUSES = {
  pending: "Pending",
  processing: "Processing",
  success: "Success",
  failed: "Failed",
  cancelled: "Cancelled",
};
const BATCH_STATUSES = { ...STATUSES, completed: "Completed", partial: "Partial" };
const LOOKS = { completed: "success" };

export const number = (value) => NUMBER.format(value);

export const counted = (count, one, more = `${one}s`) => `${number(count)} ${count === 1 ? one : more}`;

function ago(at, now = Date.now()) {
  const seconds = Math.max(0, (now - at.getTime()) / 1000);
  if (seconds < 10) return "just now";
  const [unit, size] = UNITS.find(([, length, from]) => seconds >= length * from);
  return `${Math.round(seconds / size)} ${unit} ago`;
}

export const exactly = (at) => ABSOLUTE.format(at);
export const clock = (at) => CLOCK.format(at);

export function lasting(seconds) {
  if (seconds < 1) return seconds > 0 ? "under 1 s" : "none";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5_400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} days`;
}

/** A time that goes on telling how long ago it was, and exactly when to who points at it. */
export function setWhen(element, text) {
  if (element.getAttribute("datetime") === text) return;
  const at = new Date(text);
  element.setAttribute("datetime", text);
  element.title = exactly(at);
  say(element, ago(at));
}

/** Keeps all times on the page fresh. */
export function keepTimesFresh() {
  setInterval(() => {
    for (const element of document.querySelectorAll("time[datetime]:not(.fixed)"))
      say(element, ago(new Date(element.getAttribute("datetime"))));
  }, 10_000);
}

/** A status in colour, with its sign and its name. */
export function badge(status) {
  const element = h("span", { class: "badge" });
  setBadge(element, status);
  return element;
}

export function setBadge(element, status) {
  if (element.dataset.status === status) return;
  const look = LOOKS[status] ?? status;
  element.dataset.status = status;
  element.dataset.look = look;
  element.replaceChildren(icon(look), BATCH_STATUSES[status] ?? status);
}

export const titleOf = (job) => job?.title?.trim() || "Untitled job";

/** What an application is called: its first job, and how many more there are. */
export function nameOf(application) {
  const [first] = application.jobs ?? [];
  const more = application.job_count - 1;
  return titleOf(first) + (more > 0 ? ` and ${counted(more, "more job")}` : "");
}

export function size(bytes) {
  if (bytes < 1024) return `${bytes} bytes`;
  return bytes < 1024 ** 2 ? `${Math.round(bytes / 1024)} KB` : `${(bytes / 1024 ** 2).toFixed(1)} MB`;
}

/** As the API lists them. */
export const newestFirst = (idOf) => (one, other) =>
  new Date(other.created_at) - new Date(one.created_at) || (idOf(one) < idOf(other) ? 1 : -1);

export const shortId = (id) => `${id.slice(0, 8)}…${id.slice(-6)}`;
