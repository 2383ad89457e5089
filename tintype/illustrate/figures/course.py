"""How a training went: curves, sheets over time, and what it takes to repeat it."""

from __future__ import annotations

from datetime import timedelta

from markupsafe import Markup

from tintype.illustrate.figures import numbers as say
from tintype.illustrate.figures.charts import curves
from tintype.illustrate.figures.figure import Figure
from tintype.illustrate.figures.html import div, element
from tintype.illustrate.figures.ink import Film
from tintype.illustrate.strings import Strings, strings
from tintype.illustrate.training_run import Stage, TrainingRun

COLOURS = {"clip": "blue", "autoencoder": "gold", "denoiser": "pink"}
HASH_SHOWN = 16


def stage_name(stage: Stage, s: Strings) -> str:
    """What a stage is called in the page."""
    return s.text(f"stage.{stage.name}") if stage.name in COLOURS else stage.name


def course(stage: Stage, words: Strings | None = None) -> Figure:
    """The curves of a stage, each scaled to its own largest value."""
    s = words or strings()
    log = stage.log
    assert log is not None
    colour = COLOURS.get(stage.name, "pink")
    panels = []
    for curve in log.curves.values():
        if len(set(curve.values)) < 2:
            continue
        label = curve.name.replace("_", " ")
        title = s.text(f"curve.{curve.name}") if f"curve.{curve.name}" in s.table else label
        told = f"{say.number(curve.values[0])} → {say.number(curve.values[-1])}"
        drawn = curves([(label, "mint" if curve.name in ("gradient", "lr") else colour, curve.values)], alt=title)
        panels.append(div("panel", element("h4", title), drawn, element("small", told)))
    loss = log.curves["loss"].values
    values = {
        "stage": stage_name(stage, s),
        "seen": f"{log.seen:,}",
        "aim": f"{stage.start['recipe']['pictures']:,}",
        "steps": f"{log.steps:,}",
        "time": str(timedelta(seconds=round(log.seconds))),
        "parameters": say.count(stage.start["parameters"]),
        "first": say.number(loss[0]),
        "last": say.number(loss[-1]),
    }
    numbers = {name: {"seen": curve.seen, "values": curve.values} for name, curve in log.curves.items()}
    return Figure(
        f"course-{stage.name}",
        div("panels", panels),
        s.rich("course.caption", **values),
        s.text("course.alt", **values),
        (),
        numbers,
        wide=True,
    )


def sheets(stage: Stage, words: Strings | None = None) -> Figure:
    """What the averaged weights could do at several times: a film with a slider."""
    s = words or strings()
    kind = stage.about.get("kind", "paintings")
    name = f"sheets-{stage.name}"
    film = Film.of([image for _, image in stage.sheets])
    labels = [_told(stage, seen, s) for seen, _ in stage.sheets]
    values = {"sheets": len(labels), "first": labels[0], "last": labels[-1]}
    last = len(labels) - 1
    controls = div(
        "controls",
        element("span", s.text("sheets.slider"), aria_hidden="true"),
        element(
            "input",
            type="range",
            min=0,
            max=last,
            value=last,
            step=1,
            aria_label=s.text("sheets.slider"),
            aria_valuetext=labels[-1],
            data_frames=name,
        ),
        element("output", labels[-1]),
    )
    body = div("main-screen watched", film.window(name, s.text(f"sheets.alt_{kind}", last=labels[-1])), controls)
    body += _words(stage)
    return Figure(
        name,
        body,
        s.rich(f"sheets.{kind}", **values),
        s.text(f"sheets.alt_{kind}", last=labels[-1]),
        (),
        {"sheets": {str(seen): stage.about.get("sheets", {}).get(str(seen), {}) for seen, _ in stage.sheets}},
        {"labels": labels},
        {name: film},
        wide=True,
    )


def _told(stage: Stage, seen: int, s: Strings) -> str:
    measured = stage.about.get("sheets", {}).get(str(seen), {})
    after = s.text("sheets.after", seen=f"{seen:,}")
    if "found" in measured:
        return f"{after}: {s.text('clip.right', right=measured['found'], of=measured['of'])}"
    return f"{after}: PSNR {measured['psnr']:.1f} dB" if "psnr" in measured else after


def _words(stage: Stage) -> Markup:
    """The prompts, in the order of the pictures."""
    prompts = stage.about.get("prompts", [])
    return element("ol", [element("li", prompt) for prompt in prompts], class_="prompts") if prompts else Markup("")


def repeat(run: TrainingRun, words: Strings | None = None) -> Figure:
    """The table of what each stage was made from."""
    s = words or strings()
    rows = {key: [] for key in ("seen", "data", "listing", "seed", "updates", "versions", "device")}
    for stage in run.stages:
        start = stage.start
        data, where = start["data"], start["environment"]
        rows["seen"].append(f"{stage.seen:,} / {start['recipe']['pictures']:,}")
        rows["data"].append(f"{data.get('pictures', data['visits']):,}")
        rows["listing"].append(data.get("listing_sha256", "–")[:HASH_SHOWN])
        rows["seed"].append(str(start["recipe"]["seed"]))
        rows["updates"].append(f"{stage.log.steps if stage.log else 0:,}")
        rows["versions"].append(f"tintype {where['tintype']}, torch {where['torch']}, python {where['python']}")
        rows["device"].append(f"{where['device']}, {where['threads']}")
    head = element("tr", element("td"), [element("th", stage_name(stage, s), scope="col") for stage in run.stages])
    lines = [
        element("tr", element("th", s.text(f"repeat.{key}"), scope="row"), [element("td", text) for text in texts])
        for key, texts in rows.items()
    ]
    body = div("scroll", element("table", element("thead", head), element("tbody", lines), class_="data plain"))
    numbers = {stage.name: stage.start for stage in run.stages}
    values = {"stages": len(run.stages)}
    return Figure("repeat", body, s.rich("repeat.caption"), s.text("repeat.alt", **values), (), numbers, wide=True)
