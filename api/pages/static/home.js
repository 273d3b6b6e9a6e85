import "./layout.js";
import { $ } from "./dom.js";
import { kept, listing } from "./listing.js";
import { anyOpen, jobRow, shortDatasetRow, shortModelRow } from "./rows.js";

const short = { limit: 6, whole: false };
const jobs = listing("jobs", "/v1/jobs", jobRow, short);
const datasets = listing("datasets", "/v1/datasets", shortDatasetRow, short);
const models = listing("models", "/v1/models", shortModelRow, short);

kept(async () => {
  const found = await Promise.all([jobs(), datasets(), models()]);
  $("steps").hidden = found[2].length > 0;
  return found.flat();
}, anyOpen);
