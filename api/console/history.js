/* What an application's events say: where it and each of its jobs stand, and each event in a sentence. */

import { clock, counted, lasting, titleOf } from "./format.js";

/** The application as its whole history leaves it: newer than any read model. */
export function foldEvents(id, events) {
  const application = { application_id: id, status: "pending", error_reason: null, jobs: [], style: null, starts: 0 };
  for (const event of events) {
    APPLY[event.type.replace(/^application\./, "")]?.(application, event.data, event);
    application.position = event.position;
    application.updated_at = event.occurred_at;
  }
  application.job_count = application.jobs.length;
  application.jobs.forEach((job, n) => {
    job.app_id = application.job_count === 1 ? id : `${id}-${n + 1}`;
    job.status = job.result ?? application.status;
  });
  return application;
}

const APPLY = {
  submitted(application, { jobs, style }, event) {
    Object.assign(application, {
      jobs: jobs.map((job) => ({ ...job, result: null, why: null, reference: null })),
      style,
      created_at: event.occurred_at,
    });
  },
  processing_started: (application) =>
    Object.assign(application, { status: "processing", starts: application.starts + 1 }),
  job_applied: (application, { position, reference }) =>
    Object.assign(application.jobs[position - 1], { result: "success", reference, why: null }),
  job_failed: (application, { position, reason }) =>
    Object.assign(application.jobs[position - 1], { result: "failed", why: reason }),
  succeeded: (application) => Object.assign(application, { status: "success", error_reason: null }),
  failed: (application, { reason }) => Object.assign(application, { status: "failed", error_reason: reason }),
  cancelled: (application, { reason }) => Object.assign(application, { status: "cancelled", error_reason: reason }),
  retry_requested(application, { reopened }) {
    Object.assign(application, { status: "pending", error_reason: null });
    for (const { position } of reopened) Object.assign(application.jobs[position - 1], { result: null, why: null });
  },
};

/** A sign, a sentence, and perhaps more of it. What a newer service may add is told by its name. */
export function sentenceOf(event, application) {
  const type = event.type.replace(/^application\./, "");
  const job = application.jobs[event.data.position - 1];
  const several = application.jobs.length > 1;
  const of = job && several ? `: ${titleOf(job)}` : "";
  return SENTENCES[type]?.(event.data, of, application) ?? ["info", type.replaceAll("_", " ")];
}

const SENTENCES = {
  submitted: ({ jobs, style }) => [
    "person",
    "Submitted",
    [jobs.length > 1 && counted(jobs.length, "job"), style && `style ${style}`].filter(Boolean).join(", "),
  ],
  processing_started: ({ start }) => [
    "processing",
    start === 1 ? "A worker took it up" : "A worker took it up again",
    start === 1 ? "" : `start ${start}`,
  ],
  documents_written: (_, of) => ["pen", `Documents written${of}`],
  job_attempted: ({ portal }, of) => ["sent", `Sent to ${portal}${of}`],
  job_applied: ({ reference }, of) => ["success", `Applied${of}`, reference ? `reference ${reference}` : ""],
  job_failed: ({ reason }, of) => ["failed", `Not applied${of}`, reason],
  retry_scheduled: ({ counted: costs, retry, due_at: due, waiting }) => [
    "pending",
    costs ? `Will be tried again at ${clock(new Date(due))}` : "Given back, will be taken up again",
    [costs && `retry ${retry}`, ...new Set(waiting.map((one) => one.reason))].filter(Boolean).join(": "),
  ],
  succeeded: (_, __, { jobs }) => ["success", jobs.length > 1 ? "All jobs are applied for" : "Done", ""],
  failed: ({ reason, attempts }) => [
    "failed",
    "Failed",
    `${reason}${attempts > 1 ? `, after ${attempts} attempts` : ""}`,
  ],
  retry_requested: ({ reopened }) => ["retry", "Retry asked for", counted(reopened.length, "failed job")],
  requeued: ({ reason }) => ["retry", "Queued again", reason],
  cancelled: ({ reason }) => ["cancelled", "Cancelled", reason],
};

/** Between one event and the one before it, where that is worth telling. */
export function gapBefore(event, former) {
  if (!former) return "";
  const seconds = (new Date(event.occurred_at) - new Date(former.occurred_at)) / 1000;
  return seconds >= 2 ? `after ${lasting(seconds)}` : "";
}
