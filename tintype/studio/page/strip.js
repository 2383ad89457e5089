// The strip of what was made. Words from anywhere are only ever put in as text.

import * as api from "./api.js";

const list = document.getElementById("made");
const template = document.getElementById("item");

let deeds = {};
let illustrates = false;

// deeds: what the buttons do: look, again, alter, fail, each with the picture's record.
export function prepare(given, model) {
  deeds = given;
  illustrates = model.illustrates;
}

export async function refresh() {
  const made = await api.pictures();
  list.replaceChildren(...made.map(item));
  document.getElementById("nothing").hidden = made.length > 0;
}

export function add(made) {
  list.prepend(item(made));
  document.getElementById("nothing").hidden = true;
}

function item(made) {
  const { prompt, seed, steps, guidance_scale, sampler, strength } = made.settings;
  const card = template.content.firstElementChild.cloneNode(true);
  const part = (name) => card.querySelector(name);
  card.dataset.name = made.name;
  part("img").src = api.pictureAddress(made.name);
  part("img").width = made.width;
  part("img").height = made.height;
  part(".look").setAttribute("aria-label", `Look at: ${prompt}, seed ${seed}`);
  part(".look").addEventListener("click", () => deeds.look(made));
  part(".said").textContent = prompt;
  part(".how").textContent = [
    `seed ${seed}`,
    made.stopped_after ? `${made.stopped_after} of ${steps} steps` : `${steps} steps`,
    `guidance ${guidance_scale}`,
    `${made.width} × ${made.height}`,
    sampler,
    ...(strength === null ? [] : [`${Math.round(100 * strength)} % anew`]),
    made.model,
  ].join(" · ");
  part(".again").addEventListener("click", () => deeds.again(made));
  part(".alter").addEventListener("click", () => deeds.alter(made));
  if (made.page) offerPage(card, made.page);
  else if (illustrates) offerToIllustrate(card, made);
  return card;
}

function offerPage(card, page) {
  card.querySelector(".illustrate").hidden = true;
  card.querySelector(".page").hidden = false;
  card.querySelector(".page").href = api.pageAddress(page);
}

function offerToIllustrate(card, made) {
  const button = card.querySelector(".illustrate");
  button.hidden = false;
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.textContent = "Illustrating …";
    try {
      const { id } = await api.illustrate(made.name);
      const { page } = await api.follow(id, (kind, { stage }) => (button.textContent = `Illustrating: ${stage}`));
      offerPage(card, page);
      window.open(api.pageAddress(page), "_blank", "noopener");
    } catch (trouble) {
      button.disabled = false;
      button.textContent = "Illustrate";
      deeds.fail(trouble);
    }
  });
}
