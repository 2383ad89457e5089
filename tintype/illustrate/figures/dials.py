"""Dials: other numbers of steps and guidance scales, two prompts on one seed. The article's figure 25, and a 36th."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup

from tintype.illustrate.figures import numbers as say
from tintype.illustrate.figures.charts import bars, curves
from tintype.illustrate.figures.figure import Figure
from tintype.illustrate.figures.html import div, element, join
from tintype.illustrate.figures.ink import picture
from tintype.illustrate.strings import Strings, strings
from tintype.illustrate.trials import Parting, Sweep

MOST = 16_000


def steps(sweep: Sweep, words: Strings | None = None) -> Figure:
    """The same noise, drawn in few steps and in many."""
    s = words or strings()
    columns = _columns(sweep, lambda value: s.text("sweep.steps_alt", steps=value))
    values = {"fewest": f"{sweep.values[0]:g}", "most": f"{sweep.values[-1]:g}"}
    return Figure(
        "steps",
        div("filmstrip wrap", columns),
        s.rich("sweep.steps", **values),
        s.text("sweep.steps_all", **values),
        (),
        {"steps": list(sweep.values)},
        wide=True,
    )


def scales(sweep: Sweep, num_steps: int, words: Strings | None = None) -> Figure:
    """The same noise at several guidance scales, and how well the model finds its words in each picture."""
    s = words or strings()
    columns = _columns(sweep, lambda value: s.text("sweep.scale_alt", scale=value))
    lines = [
        (f"{value:g}", "blue", max(0.0, 100 * measure))
        for value, measure in zip(sweep.values, sweep.measures, strict=True)
    ]
    best = max(range(len(sweep.values)), key=sweep.measures.__getitem__)
    values = {
        "best": f"{sweep.values[best]:g}",
        "share": say.percent(sweep.measures[best]),
        "least": say.percent(sweep.measures[0]),
        "steps": str(num_steps),
    }
    numbers = {"scales": list(sweep.values), "agreement": list(sweep.measures)}
    body = join([div("filmstrip wrap", columns), element("h4", s.text("sweep.agreement")), bars(lines, unit=" %")])
    return Figure(
        "scales",
        body,
        s.rich("sweep.scales", **values),
        s.text("sweep.scales_all", **values),
        (25,),
        numbers,
        wide=True,
    )


def two_prompts(parting: Parting, words: Strings | None = None) -> Figure:
    """Two prompts on one seed, side by side, and the step at which they part."""
    s = words or strings()
    one, other = parting.prompts
    columns = [div("column names", element("b", one), element("b", other))]
    for index, (first, second) in zip(parting.shown, parting.beliefs, strict=True):
        label = s.text("chain.step", step=index + 1)
        columns.append(
            div(
                "column parting" if index == parting.step else "column",
                picture(first, f"{one}, {label}", class_="result", most=MOST),
                picture(second, f"{other}, {label}", class_="result", most=MOST),
                element("b", label),
            )
        )
    chart = curves(
        [(s.text("parting.apart"), "purple", parting.apart)],
        alt=s.text("parting.apart"),
        band=(parting.step, parting.step),
        height=90,
    )
    values = {
        "one": one,
        "other": other,
        "step": parting.step + 1,
        "bound": say.percent(parting.bound),
        "final": say.percent(parting.apart[-1]),
    }
    body = join([div("filmstrip", columns), div("labelled", chart, element("small", s.text("parting.apart")))])
    return Figure(
        "two-prompts",
        body,
        s.rich("parting.caption", **values),
        s.text("parting.alt", **values),
        (),
        values | {"apart": list(parting.apart)},
        wide=True,
    )


def _columns(sweep: Sweep, alt: Callable[[str], str]) -> list[Markup]:
    """Each picture of a sweep above its value."""
    return [
        div(
            "column",
            picture(image, alt(f"{value:g}"), class_="result", most=MOST),
            element("b", f"{value:g}"),
        )
        for value, image in zip(sweep.values, sweep.images, strict=True)
    ]
