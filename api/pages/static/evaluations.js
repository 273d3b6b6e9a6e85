import "./layout.js";
import { kept, listing } from "./listing.js";
import { anyOpen, evaluationRow } from "./rows.js";

kept(listing("evaluations", "/v1/evaluations", (one) => evaluationRow(one)), anyOpen);
