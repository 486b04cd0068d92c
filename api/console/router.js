/* Addresses after the `#`: each thing that is shown has one, so that it can be kept, sent and gone back to. */

export function whereabouts() {
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?");
  return { path: path || "/applications", query: Object.fromEntries(new URLSearchParams(query)) };
}

export function addressOf(path, query = {}) {
  const sent = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
  return sent.size ? `#${path}?${sent}` : `#${path}`;
}

/** What is shown has changed a little: its address follows, without a step in the history. */
export function follow(path, query) {
  history.replaceState(null, "", addressOf(path, query));
}

export function go(path, query) {
  location.hash = addressOf(path, query);
}
