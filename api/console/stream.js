/*
 * Server-sent events by fetch: EventSource cannot send a token, and gives up for good on 401 and 429.
 *
 * It goes on where it ended, by Last-Event-ID, so nothing is missed however often it breaks. States:
 *
 *   connecting  asked, no answer yet
 *   live        updates come
 *   waiting     broken, tried again at `retryAt`
 *   absent      this service has no stream (an older release, a proxy in between): looked for again at `retryAt`
 *   resting     nobody has looked at the page for a while; it goes on when somebody does
 *   off         nobody is signed in
 */

import { refusalOf, sleep } from "./api.js";
import { session } from "./session.js";

const PATH = "/stream/status";
const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;
const ABSENT_WAIT = 60_000;
const STEADY_AFTER = 10_000;
const SILENCE = 40_000; // the service says something every 15 s
const REST_AFTER = 60_000; // a browser has six connections to a host: tabs that nobody looks at hold none

export class Stream extends EventTarget {
  state = "off";
  retryAt = null;
  #last = null;
  #user = null;
  #failures = 0;
  #running = null; // aborts what runs
  #hurry = () => {};
  #rest;

  constructor() {
    super();
    session.addEventListener("signed-in", () => this.#begin());
    session.addEventListener("signed-out", () => this.#end());
    session.addEventListener("expired", () => this.#end());
    window.addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => this.#seen());
  }

  start() {
    if (session.token) this.#begin();
  }

  #begin() {
    const user = session.who?.user;
    if (user !== this.#user) this.#last = null;
    this.#user = user;
    this.#failures = 0;
    this.#run();
  }

  #end() {
    this.#running?.abort();
    this.#running = null;
    this.#become("off");
  }

  #seen() {
    clearTimeout(this.#rest);
    if (!session.token) return;
    if (document.visibilityState === "hidden") {
      this.#rest = setTimeout(() => {
        this.#end();
        this.#become("resting");
      }, REST_AFTER);
    } else if (this.state === "resting") this.#begin();
    else this.#hurry();
  }

  async #run() {
    this.#running?.abort();
    const running = (this.#running = new AbortController());
    while (!running.signal.aborted) {
      this.#become("connecting");
      const wait = await this.#connect(running.signal).catch(() => null);
      if (running.signal.aborted) return;
      await this.#pause(wait ?? this.#backOff(), running.signal);
    }
  }

  /** Follows the stream to its end. Gives how long to wait before the next try, null if by back-off. */
  async #connect(signal) {
    const connection = new AbortController();
    const silent = watchdog(() => connection.abort());
    let began = Infinity;
    try {
      const response = await fetch(PATH, {
        headers: { Accept: "text/event-stream", Authorization: `Bearer ${session.token}`, ...this.#resume() },
        cache: "no-store",
        credentials: "omit",
        signal: AbortSignal.any([signal, connection.signal]),
      });
      if (!response.ok) return await this.#refused(response);
      if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) return this.#isAbsent();
      const isNew = this.#last === null;
      this.#last ??= response.headers.get("X-Event-Position");
      began = Date.now();
      for await (const event of events(response.body, silent)) this.#take(event, isNew);
      return null;
    } finally {
      silent.end();
      if (Date.now() - began > STEADY_AFTER) this.#failures = 0; // what ends at once, again and again, is a failure
    }
  }

  #resume() {
    return this.#last === null ? {} : { "Last-Event-ID": this.#last };
  }

  async #refused(response) {
    const refused = await refusalOf(response);
    if (response.status === 401) session.expire(`${refused.message}.`);
    else if (response.status === 422) this.#lost();
    else if ([404, 405, 406, 501].includes(response.status)) return this.#isAbsent();
    return refused.retryAfter === null ? null : refused.retryAfter * 1000;
  }

  /** The service does not know where we were: it begins anew, and what was between is lost. */
  #lost() {
    this.#last = null;
    this.dispatchEvent(new Event("lost"));
  }

  #isAbsent() {
    this.#become("absent", Date.now() + ABSENT_WAIT);
    return ABSENT_WAIT;
  }

  #take({ type, id, data }, isNew) {
    if (id) this.#last = id;
    if (type === "connected") {
      this.#become("live");
      if (isNew) this.dispatchEvent(new Event("begun"));
    } else {
      const detail = { ...JSON.parse(data), position: Number.parseInt(id, 10) };
      this.dispatchEvent(new CustomEvent(type, { detail }));
    }
  }

  #backOff() {
    this.#failures += 1;
    return Math.min(FIRST_WAIT * 2 ** (this.#failures - 1), LONGEST_WAIT) * (0.75 + Math.random() / 2);
  }

  async #pause(milliseconds, signal) {
    if (this.state !== "absent") this.#become("waiting", Date.now() + milliseconds);
    const hurried = new Promise((done) => {
      this.#hurry = done;
    });
    await Promise.race([sleep(milliseconds, signal).catch(() => {}), hurried]);
    this.#hurry = () => {};
  }

  #become(state, retryAt = null) {
    if (state === "connecting" && this.state === "absent") return; // it is not told anew each minute
    this.state = state;
    this.retryAt = retryAt;
    this.dispatchEvent(new Event("state"));
  }
}

function watchdog(bark) {
  let timer = setTimeout(bark, SILENCE);
  return {
    heard() {
      clearTimeout(timer);
      timer = setTimeout(bark, SILENCE);
    },
    end() {
      clearTimeout(timer);
    },
  };
}

/** The events of a body, as the HTML standard reads them. */
async function* events(body, silent) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = { type: "message", id: "", data: [] };
  try {
    while (true) {
      const { value, done } = await reader.read();
      if (done) return;
      silent.heard();
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line !== "") takeField(event, line);
        else {
          if (event.data.length) yield { ...event, data: event.data.join("\n") };
          event = { type: "message", id: "", data: [] };
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function takeField(event, line) {
  const colon = line.indexOf(":");
  const name = colon < 0 ? line : line.slice(0, colon);
  const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
  if (name === "event") event.type = value;
  else if (name === "id") event.id = value;
  else if (name === "data") event.data.push(value);
}
