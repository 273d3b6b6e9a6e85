import "./layout.js";
import { $, say } from "./dom.js";
import { kept, listing } from "./listing.js";
import { anyOpen, datasetRow } from "./rows.js";
import { upload } from "./upload.js";

const turn = kept(listing("datasets", "/v1/datasets", datasetRow), anyOpen);

async function take(files) {
  for (const file of files) {
    const options = {
      name: $("name").value.trim() || file.name.replace(/\.zip$/i, ""),
      on_invalid: $("on_invalid").value,
      split: { val_fraction: Number($("val_fraction").value) },
    };
    const dataset = await upload(file, options, $("uploads"));
    if (dataset && files.length === 1) {
      location.assign(`/datasets/${dataset.id}`);
      return;
    }
    if (dataset) say(`${file.name} has arrived.`);
    turn();
  }
}

$("file").addEventListener("change", (event) => {
  take([...event.target.files]);
  event.target.value = "";
});

// Wherever on the page it is dropped, the browser must not open it.
let inside = 0;
const over = (change) => {
  inside = Math.max(0, inside + change);
  $("drop").classList.toggle("over", inside > 0);
};
document.addEventListener("dragenter", () => over(1));
document.addEventListener("dragleave", () => over(-1));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  inside = 0;
  over(0);
  take([...event.dataTransfer.files]);
});
