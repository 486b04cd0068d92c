/*
 * How many applications are in each status: read seldom, and followed by the updates that come after what was read.
 *
 * What was read tells the position that it stands for, so an update counts once, whichever of the two comes first. Where
 * an application was before follows from where it is; only `pending` may be new, or an old one that is tried again.
 */

import { read } from "./api.js";
import { STATUSES } from "./format.js";

const CAME_FROM = { processing: "pending", success: "processing", failed: "processing", cancelled: "pending" };
const KINDS = Object.keys(STATUSES);

export class Counts {
  now = Object.fromEntries(KINDS.map((status) => [status, null]));
  #readAt = Object.fromEntries(KINDS.map((status) => [status, Infinity])); // positions; not read yet
  #since = []; // changes while it is read
  #told = new Map(); // the last status that an update told, by application
  #changed;

  constructor(changed) {
    this.#changed = changed;
  }

  get all() {
    const counts = Object.values(this.now);
    return counts.includes(null) ? null : counts.reduce((sum, count) => sum + count, 0);
  }

  /** What cannot be read is left as it is: the list beside it tells what is wrong. */
  async read(signal) {
    this.#since = [];
    try {
      await Promise.all(KINDS.map((status) => this.#readOne(status, signal)));
    } catch {
      return;
    }
    this.#changed(this.now);
  }

  async #readOne(status, signal) {
    const { body, position } = await read("/applications", { status, limit: 1 }, { signal });
    const later = this.#since.filter((change) => change.status === status && change.position > position);
    this.now[status] = later.reduce((sum, { by }) => sum + by, body.pagination.total_count);
    this.#readAt[status] = position;
  }

  /** False when it is a guess. `known` is the application where it is shown. */
  take({ application_id: id, status, position }, known) {
    const before = this.#told.get(id) ?? CAME_FROM[status] ?? (known?.position < position ? known.status : undefined);
    this.#told.set(id, status);
    if (before !== status) {
      this.#count(status, 1, position);
      if (before) this.#count(before, -1, position);
      this.#changed(this.now);
    }
    return before !== undefined;
  }

  #count(status, by, position) {
    this.#since.push({ status, by, position });
    if (position > this.#readAt[status]) this.now[status] = Math.max(0, this.now[status] + by);
  }
}
