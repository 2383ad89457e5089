// The settings: what the form says, and the form that says given settings.

const form = document.getElementById("words");
const field = (name) => form.elements.namedItem(name);
const NUMBERS = ["steps", "guidance_scale", "width", "height"];

let base = {}; // what a picture's record has beside the form's fields: kept until the model's own are wanted again

export function fill(model) {
  for (const name of model.samplers) field("sampler").add(new Option(name, name));
  field("sampler").value = model.sampler;
  for (const name of NUMBERS) field(name).value = model.defaults[name];
  for (const name of ["width", "height"]) field(name).max = model.largest;
}

// The settings as the API takes them. The seed is a string of digits in the page: it may pass what a number here holds.
export function settings(start) {
  const values = { ...base, prompt: field("prompt").value, sampler: field("sampler").value };
  for (const name of NUMBERS) values[name] = Number(field(name).value);
  values.negative_prompt = field("negative_prompt").value.trim() || null;
  const seed = field("seed").value.trim();
  values.seed = seed === "" ? null : Number.isSafeInteger(Number(seed)) ? Number(seed) : seed;
  values.image_sha256 = start;
  values.strength = start ? Number(field("strength").value) : null;
  return values;
}

export function show(given) {
  const { prompt, negative_prompt, seed, sampler, steps, guidance_scale, width, height, strength, ...rest } = given;
  base = rest;
  field("prompt").value = prompt;
  field("negative_prompt").value = negative_prompt ?? "";
  field("seed").value = seed;
  field("sampler").value = sampler;
  Object.entries({ steps, guidance_scale, width, height }).forEach(([name, value]) => (field(name).value = value));
  if (strength !== null) setStrength(strength);
}

export function setStrength(value) {
  field("strength").value = value;
  document.getElementById("strength-shown").value = `${Math.round(100 * field("strength").value)} %`;
}

export function setSize(width, height) {
  field("width").value = width;
  field("height").value = height;
}

document.getElementById("random").addEventListener("click", () => (field("seed").value = ""));
field("strength").addEventListener("input", () => setStrength(field("strength").value));
field("prompt").addEventListener("input", () => (base = {}));
field("sampler").addEventListener("change", () => (base = {}));
setStrength(field("strength").value);
