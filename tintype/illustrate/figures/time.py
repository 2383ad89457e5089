"""Step by step: the film of a run, and where its outline emerges. The article's figures 11 to 13."""

from __future__ import annotations

from math import sqrt

from torch import Tensor

from tintype.illustrate.figures import numbers as say
from tintype.illustrate.figures.charts import curves
from tintype.illustrate.figures.figure import Figure
from tintype.illustrate.figures.html import div, element, span
from tintype.illustrate.figures.ink import Film, channels, difference, picture
from tintype.illustrate.figures.looks import Looks
from tintype.illustrate.recording import RecordedStep, Recording
from tintype.illustrate.strings import Strings, strings

SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def films(recording: Recording, looks: Looks) -> dict[str, Film]:
    """The sheets that the figures of this part share: one frame a step."""
    steps = recording.steps
    found = {
        "estimate": Film.of(looks.estimates),
        "x": Film.of(
            [channels(unit(s.x, s.sigma)) for s in steps] + [channels(unit(steps[-1].x_next, steps[-1].sigma_next))]
        ),
        "belief": Film.of([channels(step.denoised) for step in steps]),
        "noise": Film.of([channels(step.noise, bound=2.5) for step in steps]),
    }
    if any(step.equation.fitted for step in steps):
        found["removed"] = Film.of([channels(step.removed) for step in steps])
    if all(step.noise_cond is not None for step in steps):
        found["cond"] = Film.of([channels(_there(step.noise_cond), bound=2.5) for step in steps])
    if all(step.guidance is not None for step in steps):
        found["uncond"] = Film.of([channels(_there(step.noise_uncond), bound=2.5) for step in steps])
        found["guidance"] = Film.of([channels(_there(step.guidance), "purple") for step in steps])
    return found


def _there(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor


def unit(x: Tensor, sigma: float) -> Tensor:
    """Latents brought to about unit variance, as the network sees them."""
    return x / sqrt(1 + sigma**2)


def start(recording: Recording) -> int:
    """The step that is open at first: the one that ends the outline's emergence."""
    return recording.outline_steps[1]


def player(recording: Recording, looks: Looks, sheets: dict[str, Film], words: Strings | None = None) -> Figure:
    """The picture develops: a slider over all steps with everything that belongs to a step."""
    s = words or strings()
    steps, here = recording.steps, start(recording)
    first, last = recording.outline_steps
    screens = [
        (name, s.text(f"film.{name}"), div("screen", sheets[name].window(name, s.text(f"film.{name}"), frame=here)))
        for name in ("x", "belief", "noise")
    ]
    shares = [step.outline for step in steps]
    chart = curves(
        [("outline", "pink", shares), ("sigma", "mint", [step.sigma for step in steps])],
        alt=s.text("player.chart", first=first + 1, last=last + 1),
        band=(first, last),
        marker=True,
    )
    controls = div(
        "controls",
        element(
            "button", span("", "▶", aria_hidden="true"), type="button", data_play=True, aria_label=s.text("player.play")
        ),
        element(
            "input",
            type="range",
            min=0,
            max=len(steps) - 1,
            value=here,
            step=1,
            data_time=True,
            aria_label=s.text("player.slider"),
        ),
        element("output", f"{here + 1} / {len(steps)}", data_out="step"),
    )
    readings = element(
        "dl",
        [
            div("", element("dt", s.text(f"player.{key}")), element("dd", _reading(steps[here], key), data_out=key))
            for key in ("sigma", "timestep", "outline", "norm")
        ],
        class_="readings",
    )
    body = div(
        "player",
        div(
            "main-screen",
            sheets["estimate"].window("estimate", s.text("film.estimate"), frame=here),
            element("small", s.text("player.decoded"), data_out="look"),
        ),
        div(
            "side",
            [
                element("div", screen, element("p", element("b", label), element("small", s.text(f"about.{name}"))))
                for name, label, screen in screens
            ],
        ),
        div(
            "track",
            controls,
            chart,
            div(
                "legend",
                span("ink pink", s.text("player.legend_outline")),
                span("ink mint", s.text("player.legend_sigma")),
                span("band-key", s.text("player.legend_band", first=first + 1, last=last + 1)),
            ),
        ),
        readings,
    )
    values = {
        "steps": len(steps),
        "first": first + 1,
        "last": last + 1,
        "before": say.percent(steps[first].outline),
        "after": say.percent(steps[last].outline),
        "decoded": len(looks.decoded),
    }
    data = {"steps": [_data(step, looks) for step in steps], "start": here}
    largest = steps[0].sigma
    for facts, step in zip(data["steps"], steps, strict=True):
        facts["gauge"] = round(100 * (step.sigma / largest) ** 0.5, 1)
    rows = [{key: value for key, value in _data(step, looks).items() if key != "look"} for step in steps]
    return Figure(
        "player",
        body,
        s.rich("player.caption", **values),
        s.text("player.alt", **values),
        (12,),
        {"steps": rows, "outline_steps": [first, last]},
        data,
        sheets,
        wide=True,
    )


def _reading(step: RecordedStep, key: str) -> str:
    readings = {
        "sigma": f"{say.number(step.sigma)} → {say.number(step.sigma_next)}",
        "timestep": f"{step.timestep:g}",
        "outline": say.percent(step.outline),
        "norm": say.number(float(step.x.float().norm())),
    }
    return readings[key]


def _data(step: RecordedStep, looks: Looks) -> dict[str, object]:
    """What the script shows of a step."""
    found: dict[str, object] = {key: _reading(step, key) for key in ("sigma", "timestep", "outline", "norm")}
    found |= {
        "equation": equation(step),
        "residual": say.number(step.equation.residual, 2),
        "subtraction": subtraction_formula(step),
        "look": "decoded" if step.index in looks.decoded else "preview",
        "pull": None if step.guidance is None else say.percent(pull(step)),
    }
    return found


def equation(step: RecordedStep) -> str:
    """``x₁₁ = 0.93 x₁₀ + 0.07 x̂₁₀``, with the terms that the solver has."""
    terms = []
    for term in step.equation.terms:
        index = str(step.index + 1 - term.back).translate(SUBSCRIPTS)
        names = {"x": f"x{index}", "denoised": f"x̂{index}", "denoised again": f"x̂{index}′", "noise": "z"}
        sign = "−" if term.coefficient < 0 else "+"
        terms.append(f"{sign} {abs(term.coefficient):.4f} {names[term.of]}")
    following = str(step.index + 2).translate(SUBSCRIPTS)
    return f"x{following} = " + " ".join(terms).removeprefix("+ ")


def subtraction_formula(step: RecordedStep) -> str:
    """The same step as a subtraction of noise, where it is exactly that."""
    now, following = (str(step.index + k).translate(SUBSCRIPTS) for k in (1, 2))
    return f"x{following} = x{now} − ({say.number(step.sigma, 4)} − {say.number(step.sigma_next, 4)}) ε{now}"


def pull(step: RecordedStep) -> float:
    """How much the words change the predicted noise: the length of the change over that of the noise."""
    return float(_there(step.guidance).norm() / _there(step.noise_cond).float().norm())


def rows(recording: Recording, words: Strings | None = None) -> Figure:
    """Chosen steps: the latents above, the decoder's picture of them below."""
    s = words or strings()
    noisy = [each for each in recording.decoded if each.of == "noisy"]
    believed = {each.index: each.image for each in recording.decoded if each.of == "denoised"}
    pairs = [(each.index, _latents(recording, each.index), each.image) for each in noisy]
    if len(pairs) < 4:  # the recorder kept beliefs rather than noisy latents: show those
        pairs = [(index, recording.steps[index].denoised, image) for index, image in believed.items()]
    pairs = [*_thinned(pairs, 7), (len(recording.steps), recording.latents, recording.image)]
    columns = [
        div(
            "column",
            element("b", s.text("rows.step", step=index) if index else s.text("rows.start")),
            picture(channels(latents), s.text("alt.step", step=index)),
            span("down-arrow", "↓", aria_hidden="true"),
            picture(image.resize(_thumb(image), 1), s.text("rows.decoded", step=index), class_="result"),
        )
        for index, latents, image in pairs
    ]
    values = {"shown": len(pairs), "steps": len(recording.steps), "list": ", ".join(str(index) for index, *_ in pairs)}
    return Figure(
        "rows",
        div("filmstrip", columns),
        s.rich("rows.caption", **values),
        s.text("rows.alt", **values),
        (11,),
        values,
        wide=True,
    )


def _thumb(image) -> tuple[int, int]:
    factor = min(1.0, 128 / max(image.size))
    return round(image.width * factor), round(image.height * factor)


def _latents(recording: Recording, index: int) -> Tensor:
    if index < len(recording.steps):
        step = recording.steps[index]
        return unit(step.x, step.sigma)
    return recording.latents


def _thinned(items: list, most: int) -> list:
    """At most so many, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def outline(recording: Recording, looks: Looks, words: Strings | None = None) -> Figure:
    """The steps between which the outline emerges, with what each changed in the believed picture."""
    s = words or strings()
    first, last = recording.outline_steps
    first = max(0, min(first, last - 2) if last >= 2 else 0)
    last = min(last, first + 4)
    frames = []
    for index in range(first, last + 1):
        image = looks.estimates[index]
        step = recording.steps[index]
        change = None
        if index > first:
            changed = difference(looks.estimates[index - 1], image)
            change = div(
                "labelled",
                picture(changed, s.text("outline.change", step=index + 1)),
                element("small", s.text("outline.difference", before=index, after=index + 1)),
            )
        shown = div(
            "labelled",
            picture(image, s.text("alt.belief", step=index + 1), class_="result", most=40_000),
            element("small", s.text("outline.share", step=index + 1, share=say.percent(step.outline))),
        )
        frames += [change, shown]
    a, b = recording.outline_steps
    values = {
        "first": a + 1,
        "last": b + 1,
        "before": say.percent(recording.steps[a].outline),
        "after": say.percent(recording.steps[b].outline),
        "final": say.percent(recording.steps[-1].outline),
    }
    return Figure(
        "outline",
        div("filmstrip large", frames),
        s.rich("outline.caption", **values),
        s.text("outline.alt", **values),
        (13,),
        values,
        wide=True,
    )
