import "./layout.js";
import { kept, listing } from "./listing.js";
import { anyOpen, searchRow } from "./rows.js";

kept(listing("searches", "/v1/searches", searchRow), anyOpen);
