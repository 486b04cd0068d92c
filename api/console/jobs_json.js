/* Jobs as JSON: which of the API's two documents it is, and where in it a problem lies. */

const MAX_ITEMS = 100;

/** Raises Error with what is wrong. */
export function parseDocument(text, style) {
  if (!text.trim()) throw new Error("There is nothing to submit yet.");
  let content;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw new Error(`This is not JSON: ${error.message}.`, { cause: error });
  }
  if (Array.isArray(content))
    return content.some((one) => Array.isArray(one?.jobs)) ? batch(content, style) : single({ jobs: content }, style);
  if (content === null || typeof content !== "object") throw new Error("An object or an array is needed.");
  if (Array.isArray(content.items)) return batch(content.items, style);
  return single(Array.isArray(content.jobs) ? content : { jobs: [content] }, style);
}

const single = (document, style) => ({
  path: "/applications",
  field: "jobs",
  document,
  style: style || (document.style ?? ""),
});

function batch(items, style) {
  if (items.length > MAX_ITEMS) throw new Error(`A batch has ${MAX_ITEMS} applications at most, not ${items.length}.`);
  const styled = items.map((item) => ({ ...item, style: item?.style ?? (style || null) }));
  return { path: "/batch/applications", field: "items", document: styled, style: "" };
}

const PLACE = /^(?:jobs|items\[(\d+)\]\.jobs)(?:\[(\d+)\])?(?:\.(\w+))?/;

/**
 * The API's details: by job (counted over the whole document, with the job's field), of other fields of the form, and
 * the others. What names no field is in the message itself.
 */
export function problemsByField({ code, message, details }, { field, document }) {
  const byJob = [];
  const ofFields = {};
  const others = [];
  for (const { field: path, message: text } of details) {
    const found = path && PLACE.exec(path);
    if (found && found[2] !== undefined)
      byJob.push({ job: placeOf(found, field, document), name: found[3] ?? null, where: path, message: text });
    else if (path === "cv" || path === "style") ofFields[path] = text;
    else if (path?.endsWith(".style")) ofFields.style = text;
    else others.push(path ? `${path}: ${text}` : text);
  }
  if (code.startsWith("ERR_4") && !ofFields.cv) ofFields.cv = message;
  return { byJob, ofFields, others };
}

function placeOf([, item, job], field, items) {
  if (field !== "items") return Number(job);
  return items.slice(0, Number(item)).reduce((sum, one) => sum + one.jobs.length, 0) + Number(job);
}
