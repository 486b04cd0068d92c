/*
 * Who is signed in: a token in sessionStorage, gone with the tab. It is read here only to show whose it is and when it
 * expires; whether it is good, the API decides.
 */

const KEY = "app-manager.token";
const LONGEST_TIMER = 2 ** 31 - 1;

class Session extends EventTarget {
  #token = sessionStorage.getItem(KEY);
  #timer;

  constructor() {
    super();
    if (this.#token) this.#await(this.who);
  }

  get token() {
    return this.#token;
  }

  get who() {
    return this.#token ? readToken(this.#token) : null;
  }

  /** `again`: over a page that was open when the token before it expired. */
  signIn(token, again = false) {
    this.#token = token;
    sessionStorage.setItem(KEY, token);
    this.#await(this.who);
    this.dispatchEvent(new CustomEvent("signed-in", { detail: { again } }));
  }

  signOut() {
    this.#forget();
    this.dispatchEvent(new Event("signed-out"));
  }

  /** The API refuses the token, or its time is over: the page stays as it is until somebody has signed in again. */
  expire(why) {
    if (!this.#token) return;
    const user = this.who?.user;
    this.#forget();
    this.dispatchEvent(new CustomEvent("expired", { detail: { why, user } }));
  }

  #forget() {
    clearTimeout(this.#timer);
    this.#token = null;
    sessionStorage.removeItem(KEY);
  }

  #await(who) {
    clearTimeout(this.#timer);
    if (!who?.expires) return;
    const milliseconds = who.expires.getTime() - Date.now();
    this.#timer = setTimeout(
      () => (milliseconds > LONGEST_TIMER ? this.#await(who) : this.expire("Your token has expired.")),
      Math.min(Math.max(milliseconds, 0), LONGEST_TIMER),
    );
  }
}

/** What a token says, null if it is no JWT. `operator`: it may claim more; the API knows what is needed for what. */
export function readToken(token) {
  try {
    const [, middle, ...rest] = token.split(".");
    if (rest.length !== 1) return null;
    const bytes = Uint8Array.from(atob(middle.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes));
    const user = claims.id ?? claims.preferred_username ?? claims.sub;
    if (user === undefined || user === null || user === "") return null;
    const expires = typeof claims.exp === "number" ? new Date(claims.exp * 1000) : null;
    return { user: String(user), expires, operator: claims.is_admin === true };
  } catch {
    return null;
  }
}

export const session = new Session();
