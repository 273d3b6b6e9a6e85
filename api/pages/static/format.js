// Numbers, times and names as people read them.
import { h } from "./dom.js";

const WHOLE = new Intl.NumberFormat("en");
const UNITS = ["B", "kB", "MB", "GB", "TB"];

export const count = (value) => (value === null || value === undefined ? "–" : WHOLE.format(value));

/** AP and its like, in points. */
export const points = (value) => (typeof value === "number" ? (100 * value).toFixed(1) : "–");

export function number(value, digits = 3) {
  return typeof value === "number" ? String(Number(value.toPrecision(digits))) : "–";
}

export function bytes(value) {
  if (typeof value !== "number") return "–";
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

/** A length of time, from seconds. */
export function duration(seconds) {
  if (typeof seconds !== "number" || !Number.isFinite(seconds)) return "–";
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** How long ago, with the exact time behind it. */
export function when(time) {
  if (!time) return "–";
  const at = new Date(time);
  const seconds = (Date.now() - at) / 1000;
  const words =
    seconds < 5 ? "now"
    : seconds < 60 ? `${Math.round(seconds)} s ago`
    : seconds < 3600 ? `${Math.round(seconds / 60)} min ago`
    : seconds < 86400 ? `${Math.round(seconds / 3600)} h ago`
    : at.toLocaleDateString("en", { day: "numeric", month: "short", year: "numeric" });
  return h("time", { datetime: time, title: at.toLocaleString("en") }, words);
}

const LOOKS = {
  running: "busy", queued: "wait", validating: "busy", paused: "wait",
  succeeded: "good", ready: "good", failed: "bad", invalid: "bad", cancelled: "off",
  better: "good", worse: "bad", inconclusive: "wait",
};

/** A status, told by word and by colour. */
export const status = (word) => h("span", { class: `status ${LOOKS[word] || "off"}` }, word);

const DETECTORS = {
  ssdlite320_mobilenet_v3_large: "SSDlite 320", ssd300_vgg16: "SSD 300", fcos_resnet50_fpn: "FCOS",
  retinanet_resnet50_fpn: "RetinaNet", retinanet_resnet50_fpn_v2: "RetinaNet v2",
  fasterrcnn_resnet50_fpn: "Faster R-CNN", fasterrcnn_resnet50_fpn_v2: "Faster R-CNN v2",
  fasterrcnn_mobilenet_v3_large_fpn: "Faster R-CNN mobile", fasterrcnn_mobilenet_v3_large_320_fpn: "Faster R-CNN mobile 320",
  maskrcnn_resnet50_fpn: "Mask R-CNN", maskrcnn_resnet50_fpn_v2: "Mask R-CNN v2",
};
export const detector = (name) => h("span", { title: name }, DETECTORS[name] || name);

/** Progress with its number. `fraction`: from 0 to 1, or null where nobody knows. */
export function meter(fraction, label) {
  const known = typeof fraction === "number";
  const percent = known ? Math.floor(100 * fraction) : null;
  return h("span", { class: "meter" },
    h("progress", known ? { max: 1, value: fraction, "aria-label": label } : { "aria-label": label }),
    known && h("span", {}, `${percent} %`));
}

/** The name of a job in a few words. */
export function jobName(job) {
  return (job.spec && job.spec.name) || `${job.kind} ${job.id.slice(-6)}`;
}
