import "./layout.js";
import { kept, listing } from "./listing.js";
import { anyOpen, datasetRow } from "./rows.js";

kept(listing("datasets", "/v1/datasets", datasetRow), anyOpen);
