"""The page of a training run: the article's figures of learning, drawn from the run's own pictures and networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from markupsafe import Markup

from tintype.illustrate.figures import autoencoder, course, learning
from tintype.illustrate.figures.figure import Figure
from tintype.illustrate.figures.ink import picture
from tintype.illustrate.run_page import Page, chapter_numbers, render
from tintype.illustrate.story import Chapter
from tintype.illustrate.strings import Strings, strings
from tintype.illustrate.training_run import TrainingRun, read_run


def illustrate_training(
    folder: str | Path, *, language: str = "en", full: bool = False, progress: Callable[[str], None] | None = None
) -> Page:
    """The page of what a run learnt, from its folder.

    Args:
        folder: of a run of ``tintype train``.
        language: "en" or "zh".
        full: without the bound of 6 MB.
        progress: is told the name of each stage before it begins.

    Raises:
        TrainingError: there is no training in the folder.
    """
    strings(language)  # an unknown language is told before anything is read
    return training_page(read_run(Path(folder).expanduser(), progress=progress), language=language, full=full)


def training_page(run: TrainingRun, *, language: str = "en", full: bool = False) -> Page:
    """The page of a run that was read."""
    s = strings(language)
    told = training_chapters(run, s)
    sheets = [stage.sheets[-1][1] for stage in run.stages if stage.sheets]
    shown = sheets[-1] if sheets else None
    if shown is None and run.learnt is not None:
        shown = run.learnt.rows[0].image
    html = render(
        "training.html",
        s,
        told,
        full,
        name=run.name,
        notices=() if run.learnt is not None else (s.text("run.no_rows"),),
        standfirst=s.rich(
            "run.standfirst" if len(run.stages) > 1 else "run.standfirst_one",
            stages=len(run.stages),
            seen=f"{sum(stage.seen for stage in run.stages):,}",
            data=f"{max(stage.start['data'].get('pictures', 0) for stage in run.stages):,}",
        ),
        picture=Markup("") if shown is None else picture(shown, s.text("run.picture"), most=110_000),
        made=s.rich("run.made"),
        recipe=json.dumps(run.recipe, ensure_ascii=False, indent=1),
    )
    return Page(html, {"run": run.name, "recipe": run.recipe, "parts": chapter_numbers(told)})


def training_chapters(run: TrainingRun, s: Strings) -> list[Chapter]:
    """The parts for which there is anything to show."""
    told: dict[str, list[Figure]] = {"course": _course(run, s), "learning": [], "agreeing": [], "narrow": []}
    learnt = run.learnt
    if learnt is not None:
        told["learning"].append(learning.captions(learnt, s))
        if len(learnt.examples) > 1:
            examples = [learning.example(learnt, number, s) for number in (0, 1)]
            told["learning"] += [*examples, learning.table(learnt, s)]
        if learnt.step is not None:
            told["learning"].append(learning.step(learnt, s))
        elif learnt.why_not is not None:
            told["learning"].append(learning.missing(learnt, s))
        if learnt.agreement is not None:
            told["agreeing"] = [learning.embeddings(learnt, s), learning.similarity(learnt, s)]
    if run.trip is not None:
        told["narrow"] = [
            autoencoder.back_and_forth(run.trip, run.others, s, own=True),
            autoencoder.forward(run.trip, run.forward, s),
        ]
    return [Chapter(name, tuple(figures)) for name, figures in told.items() if figures]


def _course(run: TrainingRun, s: Strings) -> list[Figure]:
    found = []
    for stage in run.stages:
        if stage.log is not None:
            found.append(course.course(stage, s))
        if stage.sheets:
            found.append(course.sheets(stage, s))
    return [*found, course.repeat(run, s)]
