/*
 * Calls of the public API. A call that fails raises Refused (the API's own answer) or Unreachable. Reads that find the
 * service not ready yet are tried again a few times; a write never is, as its caller knows whether it is safe to.
 */

import { session } from "./session.js";

const ANSWER_SECONDS = 30;
const DOWNLOAD_SECONDS = 900;
const READ_TRIES = 3;
const LONGEST_WAIT_SECONDS = 5;

/** What the API says: `details` name the fields that it cannot take. */
export class Refused extends Error {
  constructor(status, body, retryAfter) {
    super(body?.message ?? `The service answered ${status}`);
    this.status = status;
    this.code = body?.code ?? "";
    this.details = body?.details ?? [];
    this.correlationId = body?.correlation_id ?? "";
    this.retryAfter = retryAfter;
  }
}

/** No answer: it is not known whether a write was done. */
export class Unreachable extends Error {
  constructor() {
    super("The service cannot be reached.");
  }
}

/** How much of the hour's requests is left, from 0 to 1: who asks by himself asks more seldom when there is little. */
export let budget = 1;

/**
 * Gives the body, and the position that it stands for. `after`: a position that the answer must reflect. `token`: one
 * that is tried before anybody is signed in with it.
 */
export async function read(path, query = {}, { after, signal, token } = {}) {
  for (let tried = 1; ; tried += 1) {
    try {
      const headers = after ? { "X-Event-Position": String(after) } : {};
      return await call("GET", withQuery(path, query), { headers, signal, token });
    } catch (error) {
      const wait = error instanceof Refused && error.status === 503 ? (error.retryAfter ?? 1) : null;
      if (wait === null || wait > LONGEST_WAIT_SECONDS || tried === READ_TRIES) throw error;
      await sleep(wait * 1000, signal);
    }
  }
}

export const write = (method, path, options = {}) => call(method, path, options);

/** A file, for the browser to keep. */
export async function download(path, query) {
  const response = await ask("GET", withQuery(path, query), { seconds: DOWNLOAD_SECONDS });
  const named = /filename="?([^";]+)"?/.exec(response.headers.get("Content-Disposition") ?? "");
  const url = URL.createObjectURL(await content(response.blob()));
  const link = document.createElement("a");
  link.href = url;
  link.download = named?.[1] ?? "applications";
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  return link.download;
}

async function call(method, path, options) {
  const response = await ask(method, path, options);
  const position = Number(response.headers.get("X-Event-Position") ?? 0);
  return { body: await content(response.json()), position, replayed: response.headers.has("X-Idempotency-Replayed") };
}

/** An answer that broke off is none. */
async function content(reading) {
  try {
    return await reading;
  } catch {
    throw new Unreachable();
  }
}

async function ask(method, path, { headers = {}, body, signal, token = session.token, seconds = ANSWER_SECONDS }) {
  let response;
  try {
    response = await fetch(path, {
      method,
      body,
      headers: { Accept: "application/json", Authorization: `Bearer ${token}`, ...headers },
      cache: "no-store",
      credentials: "omit",
      signal: either(signal, AbortSignal.timeout(seconds * 1000)),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable();
  }
  remember(response);
  if (response.ok) return response;
  const refused = await refusalOf(response);
  if (response.status === 401 && token === session.token) session.expire(`${refused.message}.`);
  throw refused;
}

export async function refusalOf(response) {
  const body = await response.json().catch(() => null);
  const after = response.headers.get("Retry-After");
  return new Refused(response.status, body, after === null ? null : Number(after));
}

function remember(response) {
  const limit = Number(response.headers.get("X-RateLimit-Limit"));
  if (limit) budget = Number(response.headers.get("X-RateLimit-Remaining")) / limit;
}

/** Filters that are empty are not sent. */
function withQuery(path, query) {
  const sent = new URLSearchParams(
    Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined),
  );
  return sent.size ? `${path}?${sent}` : path;
}

function either(first, second) {
  return first ? AbortSignal.any([first, second]) : second;
}

export function sleep(milliseconds, signal) {
  return new Promise((done, failed) => {
    const timer = setTimeout(done, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      failed(signal.reason);
    });
  });
}

/** Random, also where the page is not from a secure origin. */
export function freshKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `console-${[...bytes].map((one) => one.toString(16).padStart(2, "0")).join("")}`;
}
