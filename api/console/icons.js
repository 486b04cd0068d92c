/* Icons: strokes on a grid of 16, in the colour of the text beside them. They say nothing that the text does not. */

import { svg } from "./dom.js";

const PATHS = {
  pending: ["M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11Z", "M8 5v3.2l2 1.3"],
  processing: ["M13.5 8A5.5 5.5 0 1 1 9.6 2.7"],
  success: ["M3.2 8.6 6.4 11.8 12.8 4.6"],
  failed: ["M4 4l8 8", "M12 4l-8 8"],
  cancelled: ["M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11Z", "M4.2 4.2l7.6 7.6"],
  partial: ["M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11Z", "M8 2.5v11", "M8 5.5h4", "M8 8h5.5", "M8 10.5h4"],
  applications: ["M3 4h10", "M3 8h10", "M3 12h6"],
  batches: ["M2.5 5.5 8 2.5l5.5 3L8 8.5l-5.5-3Z", "M2.5 8.5 8 11.5l5.5-3", "M2.5 11 8 14l5.5-3"],
  submit: ["M8 3v10", "M3 8h10"],
  operations: ["M3 13V8", "M8 13V3", "M13 13V6"],
  retry: ["M13 8a5 5 0 1 1-1.6-3.7", "M13 2.5v2.8h-2.8"],
  cancel: ["M4.5 4.5l7 7", "M11.5 4.5l-7 7"],
  back: ["M9.5 3.5 5 8l4.5 4.5"],
  export: ["M8 2.5v7.5", "M5 7.2 8 10l3-2.8", "M3 13h10"],
  copy: ["M5.5 5.5h7v8h-7z", "M3.5 10.5v-8h7"],
  file: ["M4 2.5h5l3 3v8H4z", "M9 2.5v3h3"],
  letter: ["M2.5 4h11v8h-11z", "M2.5 4.5 8 8.8l5.5-4.3"],
  person: ["M8 8.2a2.6 2.6 0 1 0 0-5.2 2.6 2.6 0 0 0 0 5.2Z", "M3.2 13.2c.5-2.4 2.4-3.6 4.8-3.6s4.3 1.2 4.8 3.6"],
  out: ["M6.5 3H3v10h3.5", "M7 8h6", "M10.7 5.5 13.2 8l-2.5 2.5"],
  alert: ["M8 2.6 14 13H2L8 2.6Z", "M8 6.5v3", "M8 11.2v.1"],
  info: ["M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11Z", "M8 7.5v3.5", "M8 5v.1"],
  search: ["M7 2.8a4.2 4.2 0 1 0 0 8.4 4.2 4.2 0 0 0 0-8.4Z", "M10.2 10.2 13.4 13.4"],
  key: ["M5.3 8.2a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5Z", "M7.1 8.9 13 3", "M10.5 5.5l2 2"],
  sent: ["M13.5 2.5 7 9", "M13.5 2.5 9.5 13.5 7 9 2.5 6.5l11-4Z"],
  pen: ["M3 13l.6-2.7L10.8 3l2.2 2.2-7.3 7.2L3 13Z"],
};

export function icon(name) {
  const strokes = (PATHS[name] ?? PATHS.info).map((d) => svg("path", { d }));
  return svg(
    "svg",
    { class: `icon icon-${name}`, viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" },
    ...strokes,
  );
}
