// A picture to start from: dropped on the page, pasted, or chosen.

import * as api from "./api.js";
import { setSize, setStrength } from "./form.js";

const element = (id) => document.getElementById(id);
const zone = element("drop");

let start = null; // the name of the picture that the next run starts from

export const current = () => start;

export function use(sha256) {
  start = sha256;
  element("start").hidden = start === null;
  element("invitation").hidden = start !== null;
  if (start === null) element("start-picture").removeAttribute("src");
  else element("start-picture").src = api.droppedAddress(start);
}

// Hand a file's bytes to the studio. Its size becomes the form's, as far as the model can draw it.
export async function take(blob, largest) {
  const { sha256, width, height } = await api.drop(blob);
  const scale = Math.min(1, largest / Math.max(width, height));
  const onGrid = (side) => Math.max(64, 8 * Math.floor((side * scale) / 8));
  setSize(onGrid(width), onGrid(height));
  setStrength(0.6);
  use(sha256);
}

export function listen(largest, fail) {
  const taken = (blob) => blob && take(blob, largest).catch(fail);
  element("file").addEventListener("change", (event) => {
    taken(event.target.files[0]);
    event.target.value = "";
  });
  element("remove").addEventListener("click", () => {
    use(null);
    element("file").focus();
  });
  document.addEventListener("paste", (event) => taken(event.clipboardData?.files[0]));
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    zone.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? zone.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    zone.classList.remove("over");
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    taken(event.dataTransfer.files[0]);
  });
}
