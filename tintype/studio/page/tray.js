// The picture in the tray: it develops, and stays.

const element = (id) => document.getElementById(id);
const [sheet, picture, progress, status, notices] = ["sheet", "picture", "progress", "status", "notices"].map(element);

function expose(address, alt) {
  picture.src = address;
  picture.alt = alt;
  picture.hidden = false;
  element("hint").hidden = true;
}

export function begin({ steps, settings, notices: said }) {
  sheet.classList.add("developing");
  sheet.style.aspectRatio = `${settings.width} / ${settings.height}`;
  sheet.dataset.seed = settings.seed;
  progress.max = steps;
  progress.value = 0;
  status.textContent = `Developing, seed ${settings.seed}`;
  notices.textContent = said.join(" ");
}

export function step({ done, steps, preview }) {
  if (preview) expose(preview, "The picture, still developing");
  progress.value = done;
  if (done === steps) status.textContent = "Fixing: the latents become a picture";
}

export function show(address, made) {
  sheet.classList.remove("developing");
  sheet.style.aspectRatio = `${made.width} / ${made.height}`;
  expose(address, `Drawn from the words: ${made.settings.prompt}`);
  progress.value = 0;
  const stopped = made.stopped_after ? `, stopped after ${made.stopped_after} steps` : "";
  status.textContent = `${made.settings.prompt}, seed ${made.settings.seed}${stopped}`;
}

export function fail() {
  sheet.classList.remove("developing");
  progress.value = 0;
  status.textContent = "";
}
