// The page: words and settings go out, a picture develops, the strip grows.

import * as api from "./api.js";
import * as drop from "./drop.js";
import * as form from "./form.js";
import * as strip from "./strip.js";
import * as tray from "./tray.js";

const element = (id) => document.getElementById(id);
const [words, draw, stop, trouble] = ["words", "draw", "stop", "trouble"].map(element);

let job = null; // what this page draws now

function tell(error) {
  trouble.textContent = error ? error.message : "";
  trouble.hidden = !error;
}

function busy(now) {
  const focused = [draw, stop].includes(document.activeElement);
  draw.hidden = now;
  stop.hidden = !now;
  stop.disabled = false;
  if (focused) (now ? stop : draw).focus();
}

async function run(settings) {
  if (job !== null) return;
  job = "asked";
  tell(null);
  busy(true);
  try {
    job = (await api.begin(settings)).id;
    const made = await api.follow(job, (kind, data) => tray[kind](data));
    tray.show(api.pictureAddress(made.name), made);
    strip.add(made);
  } catch (error) {
    tray.fail();
    tell(error);
  } finally {
    job = null;
    busy(false);
  }
}

function halt() {
  if (job === null || job === "asked") return;
  stop.disabled = true;
  api.stop(job).catch(tell);
}

words.addEventListener("submit", (event) => {
  event.preventDefault();
  run(form.settings(drop.current()));
});
stop.addEventListener("click", halt);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") halt();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) words.requestSubmit();
});
window.addEventListener("focus", () => strip.refresh().catch(tell)); // other tabs draw too

const deeds = {
  look: (made) => {
    if (job === null) tray.show(api.pictureAddress(made.name), made);
    element("sheet").scrollIntoView({ block: "nearest" });
  },
  again: (made) => {
    form.show(made.settings);
    drop.use(made.settings.image_sha256);
    element("sheet").scrollIntoView({ block: "nearest" });
    run(form.settings(drop.current()));
  },
  alter: async (made) => {
    try {
      const picture = await fetch(api.pictureAddress(made.name));
      await drop.take(await picture.blob(), Infinity);
      element("prompt").focus();
    } catch (error) {
      tell(error);
    }
  },
  fail: tell,
};

try {
  const model = await api.model();
  element("model").textContent = model.name + (model.vocabulary ? ": the model in the box, which knows few words" : "");
  form.fill(model);
  drop.listen(model.largest, tell);
  strip.prepare(deeds, model);
  await strip.refresh();
} catch (error) {
  tell(error);
}
