/*
 * What keeps the views current: the stream while there is one, else a slow refresh.
 *
 *   application   an application's status has changed: {application_id, status, error_reason, position, timestamp}
 *   batch         what is told of a batch has changed
 *   refresh       something may have changed: read again what is shown
 *   state         the connection is another
 */

import { budget, sleep } from "./api.js";
import { session } from "./session.js";
import { Stream } from "./stream.js";

export const REFRESH_SECONDS = 20;

const PATIENCE = 1_000;

class Live extends EventTarget {
  #stream = new Stream();
  #timer;
  #blind = false; // something was read while nothing told of changes: it may be old once the stream has begun

  start() {
    this.#stream.addEventListener("status_update", ({ detail }) => this.#tell("application", detail));
    this.#stream.addEventListener("batch_update", ({ detail }) => this.#tell("batch", detail));
    this.#stream.addEventListener("lost", () => {
      this.#blind = true;
    });
    this.#stream.addEventListener("begun", () => {
      if (this.#blind) this.#tell("refresh");
      this.#blind = false;
    });
    this.#stream.addEventListener("state", () => this.#tell("state"));
    session.addEventListener("signed-in", () => this.#tell("refresh"));
    this.#stream.start();
    this.#refreshLater();
  }

  get state() {
    return this.#stream.state;
  }

  get retryAt() {
    return this.#stream.retryAt;
  }

  /** Before the first read of a view: what is read once the stream has begun is missed by no update. */
  async ready() {
    if (this.state === "connecting") {
      const answered = new Promise((done) => {
        this.#stream.addEventListener("state", done, { once: true });
      });
      await Promise.race([answered, sleep(PATIENCE)]);
    }
    if (this.state !== "live") this.#blind = true;
  }

  /** Listens until `signal` says that nobody looks any more. */
  on(kind, listener, signal) {
    this.addEventListener(kind, (event) => listener(event.detail), { signal });
  }

  #tell(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }

  #refreshLater() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => {
        const blind = this.state === "absent" || this.state === "waiting";
        if (blind && session.token && document.visibilityState === "visible") this.#tell("refresh");
        this.#refreshLater();
      },
      unhurried(REFRESH_SECONDS * 1000),
    );
  }
}

/** Longer when few of the hour's requests are left. */
export function unhurried(milliseconds) {
  if (budget < 0.05) return milliseconds * 8;
  return budget < 0.25 ? milliseconds * 3 : milliseconds;
}

/** Runs `work` at once, and of the calls within the next `milliseconds` the last one at their end. */
export function throttled(milliseconds, work, signal) {
  let timer = null;
  let again = null;
  signal?.addEventListener("abort", () => clearTimeout(timer));
  const run = (args) => {
    timer = setTimeout(() => {
      timer = null;
      if (again) {
        const next = again;
        again = null;
        run(next);
      }
    }, unhurried(milliseconds));
    work(...args);
  };
  return (...args) => {
    if (timer === null) run(args);
    else again = args;
  };
}

export const live = new Live();
