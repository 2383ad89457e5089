"use strict";
// The page's controls. Everything is drawn already: the script only chooses which step, word or layer is shown.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (selector, root = document) => root.querySelector(selector);
  const put = (name, text) => all(`[data-out="${name}"]`).forEach((place) => { place.textContent = text; });
  document.documentElement.classList.add("js");

  // A film is an SVG whose view box is moved over a sheet of frames.
  function show(film, frame) {
    const { count, across } = film.dataset;
    const [, , width, height] = film.getAttribute("viewBox").split(" ").map(Number);
    const index = Math.max(0, Math.min(Number(count) - 1, frame + Number(film.dataset.offset || 0)));
    film.setAttribute("viewBox", `${(index % across) * width} ${Math.floor(index / across) * height} ${width} ${height}`);
  }

  // Time: one step for all figures that follow it.
  const steps = data.player ? data.player.steps : [];
  const sliders = all("[data-time]");
  const films = all("svg.film:not([data-film=layers])");
  const markers = all("[data-marker]");
  const play = one("[data-play]");
  const listeners = [];
  let now = data.player ? data.player.start : 0;
  let timer = null;

  function go(step) {
    now = Math.max(0, Math.min(steps.length - 1, step));
    const facts = steps[now];
    films.forEach((film) => show(film, now));
    sliders.forEach((slider) => {
      slider.value = now;
      slider.setAttribute("aria-valuetext", `${now + 1} / ${steps.length}, σ ${facts.sigma}`);
    });
    markers.forEach((line) => {
      const x = 6 + (628 * (now + 0.5)) / Number(line.dataset.marker);
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
    });
    all("[data-gauge]").forEach((bar) => bar.setAttribute("width", facts.gauge));
    put("step", `${now + 1} / ${steps.length}`);
    put("t", `t = ${facts.timestep}`);
    put("look", data.strings[facts.look]);
    for (const name of ["sigma", "timestep", "outline", "norm", "equation", "subtraction", "residual", "pull"]) {
      if (facts[name] !== null) put(name, facts[name]);
    }
    listeners.forEach((listener) => listener());
  }

  function pause() {
    clearInterval(timer);
    timer = null;
    if (play) { play.firstElementChild.textContent = "▶"; play.setAttribute("aria-pressed", "false"); }
  }

  function start() {
    if (now === steps.length - 1) go(0);
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    timer = setInterval(() => (now === steps.length - 1 ? pause() : go(now + 1)), calm ? 900 : Math.max(60, 5000 / steps.length));
    play.firstElementChild.textContent = "❚❚";
    play.setAttribute("aria-pressed", "true");
  }

  if (steps.length) {
    sliders.forEach((slider) => slider.addEventListener("input", () => { pause(); go(Number(slider.value)); }));
    play.addEventListener("click", () => (timer ? pause() : start()));
    document.addEventListener("keydown", (event) => {
      const element = event.target instanceof Element ? event.target : document.body;
      if (event.ctrlKey || event.metaKey || event.altKey || element.closest("input, select, button, summary, a, [data-stage]")) return;
      const moves = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: steps.length - 1 };
      const near = one("#time").getBoundingClientRect();
      if (near.bottom < 0 || near.top > innerHeight) return; // the keys belong to what is in sight
      if (event.key === " ") { event.preventDefault(); play.click(); }
      else if (event.key in moves) { event.preventDefault(); pause(); go(moves[event.key]); }
    });
  }

  // Attention: maps over the picture, and the words ranked for a place.
  if (data.heat && data.heat.labels) {
    const { labels, kinds, views } = data.heat;
    const stage = one("[data-stage]"), canvas = one("canvas", stage), cross = one(".cross", stage);
    const view = one("[data-view]"), ranking = one("[data-ranking]"), picks = all("[data-word]");
    const decoded = new Map();
    let chosen = data.heat.start, near = null, place = null; // a word is chosen by a click, and looked at while the pointer is near

    const bytes = (maps) => {
      if (!decoded.has(maps)) decoded.set(maps, Uint8Array.from(atob(maps), (letter) => letter.charCodeAt(0)));
      return decoded.get(maps);
    };
    const current = () => (view.value === "step" ? data.heat.steps[now] : views[Number(view.value)]);

    function paint() {
      const word = near === null ? chosen : near;
      const maps = current(), [height, width] = maps.size, levels = bytes(maps.maps);
      const small = document.createElement("canvas");
      small.width = width;
      small.height = height;
      const pixels = new ImageData(width, height);
      for (let i = 0; i < width * height; i += 1) {
        const level = word === null ? 255 : levels[word * width * height + i];
        pixels.data.set([26, 14, 58, Math.round((255 - level) * 0.86)], 4 * i);
      }
      small.getContext("2d").putImageData(pixels, 0, 0);
      const image = one("img", stage);
      canvas.width = image.naturalWidth;
      canvas.height = image.naturalHeight;
      const context = canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(small, 0, 0, canvas.width, canvas.height);
      picks.forEach((pick) => pick.setAttribute("aria-pressed", String(Number(pick.dataset.word) === chosen)));
      rank();
    }

    function rank() {
      cross.hidden = place === null;
      if (place === null) return;
      cross.style.left = `${100 * place[0]}%`;
      cross.style.top = `${100 * place[1]}%`;
      const maps = current(), [height, width] = maps.size, levels = bytes(maps.maps);
      const x = Math.min(width - 1, Math.floor(place[0] * width)), y = Math.min(height - 1, Math.floor(place[1] * height));
      const shares = labels.map((label, i) => [label, (levels[(i * height + y) * width + x] / 255) * maps.tops[i], kinds[i]]);
      shares.sort((a, b) => (a[2] === "word") === (b[2] === "word") ? b[1] - a[1] : a[2] === "word" ? -1 : 1);
      const most = Math.max(...shares.map((row) => row[1]));
      ranking.replaceChildren(...shares.slice(0, 9).map(([label, share, kind]) => {
        const row = document.createElement("li"), name = document.createElement("span");
        const bar = document.createElement("span"), number = document.createElement("span");
        row.className = kind === "word" ? "" : "none";
        name.textContent = label;
        bar.className = "bar";
        bar.style.width = `${(100 * share) / most}%`;
        number.textContent = `${(100 * share).toFixed(1)} %`;
        row.append(name, bar, number);
        return row;
      }));
    }

    function touch(event) {
      const box = stage.getBoundingClientRect();
      place = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((n) => Math.max(0, Math.min(0.999, n)));
      rank();
    }

    stage.addEventListener("pointerdown", touch);
    stage.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse" || event.buttons) touch(event); });
    stage.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!move) return;
      event.preventDefault();
      const [height, width] = current().size, [x, y] = place || [0.5, 0.5];
      place = [x + move[0] / width, y + move[1] / height].map((n) => Math.max(0, Math.min(0.999, n)));
      rank();
    });
    picks.forEach((pick) => {
      const number = Number(pick.dataset.word);
      pick.addEventListener("click", () => { chosen = chosen === number ? null : number; near = null; paint(); });
      pick.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") { near = number; paint(); } });
      pick.addEventListener("pointerleave", () => { near = null; paint(); });
    });
    view.addEventListener("change", () => { one("[data-heat-step]").hidden = view.value !== "step"; paint(); });
    listeners.push(() => { if (view.value === "step") paint(); });
    place = data.heat.place;
    const image = one("img", stage);
    if (image.complete) paint(); else image.addEventListener("load", paint);
  }

  // Layers: choose one, and the step whose features it shows.
  if (data.layers && data.layers.layers) {
    const { layers } = data.layers, times = data.layers.steps.length;
    const at = one("[data-layer-step]"), screen = one(".detail .film"), picks = all("[data-pick-layer]");
    let layer = data.layers.start;
    const paint = () => {
      const time = Number(at.value);
      show(screen, layer * times + time);
      picks.forEach((pick) => {
        const number = Number(pick.dataset.pickLayer);
        show(pick.firstElementChild, number * times + time);
        pick.setAttribute("aria-pressed", String(number === layer));
      });
      for (const name of ["name", "text", "numbers"]) one(`[data-layer="${name}"]`).textContent = layers[layer][name];
    };
    picks.forEach((pick) => pick.addEventListener("click", () => { layer = Number(pick.dataset.pickLayer); paint(); }));
    at.addEventListener("change", paint);
    paint();
  }

  // Films with a slider of their own: the sheets of a training.
  all("[data-frames]").forEach((slider) => {
    const figure = slider.closest("figure"), { labels } = data[slider.dataset.frames];
    slider.addEventListener("input", () => {
      show(one("svg.film", figure), Number(slider.value));
      one("output", figure).textContent = labels[slider.value];
      slider.setAttribute("aria-valuetext", labels[slider.value]);
    });
  });

  // The part in sight is marked in the contents.
  const links = new Map(all(".contents a").map((link) => [link.hash.slice(1), link]));
  const watcher = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (!entry.isIntersecting) return;
    links.forEach((link) => link.removeAttribute("aria-current"));
    const link = links.get(entry.target.id);
    if (!link) return;
    link.setAttribute("aria-current", "true");
    link.parentElement.parentElement.scrollTo({ left: link.offsetLeft - 40 });
  }), { rootMargin: "-30% 0px -60% 0px" });
  all("main > section").forEach((section) => watcher.observe(section));

  if (steps.length) go(now);
})();
