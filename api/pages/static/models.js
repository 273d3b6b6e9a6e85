import "./layout.js";
import { listing } from "./listing.js";
import { modelRow } from "./rows.js";

listing("models", "/v1/models", modelRow)();
