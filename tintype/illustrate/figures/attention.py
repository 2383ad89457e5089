"""What each word did: heat maps over the picture, and the honest check beside them, the same noise without the word."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from markupsafe import Markup
from torch import Tensor

from tintype.illustrate.figures import numbers as say
from tintype.illustrate.figures.charts import bars
from tintype.illustrate.figures.figure import Figure
from tintype.illustrate.figures.html import div, element, join, span
from tintype.illustrate.figures.ink import difference, over, picture
from tintype.illustrate.figures.parts import PICTURE_BYTES
from tintype.illustrate.recording import Recording
from tintype.illustrate.strings import Strings, strings
from tintype.illustrate.trials import Trials

FINE, COARSE = 64, 32
"""The longer side, at most, of maps over all steps and of maps of one step."""

STEP_BYTES = 350_000
"""Of the maps of all steps together; above it they are made coarser."""

MOST_WORDS = 24


@dataclass(frozen=True)
class Looked:
    """What can be looked at: a word, or start, end or padding, with the rows of the heat maps that are its."""

    label: str
    kind: str
    entries: tuple[int, ...]


def looked_at(recording: Recording, s: Strings) -> list[Looked]:
    """The words in order, then start, end and padding."""
    found = [Looked(word, "word", recording.entries(n)) for n, word in enumerate(recording.words[:MOST_WORDS])]
    for kind in ("start", "end", "padding"):
        entries = tuple(sorted({token.entry for token in recording.tokens if token.kind == kind}))
        if entries:
            found.append(Looked(s.text(f"tokens.{kind}"), kind, entries))
    return found


def _rows(maps: Tensor, looked: list[Looked]) -> Tensor:
    """Maps of entries (e h w) -> maps of what is looked at; pieces of a word are averaged, start and padding summed."""
    rows = []
    for each in looked:
        chosen = maps[list(each.entries)]
        rows.append(chosen.mean(0) if each.kind == "word" else chosen.sum(0))
    return torch.stack(rows)


def _bytes(maps: Tensor, side: int) -> dict[str, object]:
    """Maps (n h w) as bytes for the script: each 0 to 255 of its own largest value."""
    factor = min(1.0, side / max(maps.shape[-2:]))
    if factor < 1:
        height, width = (max(1, round(n * factor)) for n in maps.shape[-2:])
        maps = F.adaptive_avg_pool2d(maps[None], (height, width))[0]
    tops = maps.flatten(1).amax(1).clamp_min(1e-12)
    levels = (maps / tops[:, None, None] * 255).round().to(torch.uint8)
    return {
        "size": list(maps.shape[-2:]),
        "tops": [round(top, 7) for top in tops.tolist()],
        "maps": base64.b64encode(levels.numpy().tobytes()).decode(),
    }


def heat(recording: Recording, words: Strings | None = None) -> Figure:
    """Cross-attention over the picture, for each word; per step, per resolution and overall."""
    s = words or strings()
    maps = recording.heat
    if maps is None or not recording.words:
        return Figure(
            "heat", element("p", s.rich("heat.none"), class_="said"), s.rich("heat.none"), s.text("heat.none"), (35,)
        )
    looked = looked_at(recording, s)
    overall = _rows(maps.overall, looked)
    views = [{"label": s.text("heat.overall")} | _bytes(overall, FINE)]
    for level in sorted({layer.level for layer in maps.layers if layer.part != "mid"}):
        found = maps.resolution(level)
        label = s.text("heat.resolution", size=say.shape(found.shape[-2:]))
        views.append({"label": label} | _bytes(_rows(found, looked), FINE))
    for level in sorted({layer.level for layer in maps.layers if layer.part == "mid"}):
        found = maps.resolution(level, middle=True)
        label = s.text("heat.middle", size=say.shape(found.shape[-2:]))
        views.append({"label": label} | _bytes(_rows(found, looked), FINE))
    steps = _by_step(recording, looked)
    shares = overall.flatten(1).mean(1).tolist()
    body = _stage(s, recording, looked, overall, shares, views, bool(steps))
    ranked = sorted(range(len(recording.words[:MOST_WORDS])), key=lambda n: -shares[n])
    place = overall[ranked[0]].argmax().item()
    height, width = overall.shape[-2:]
    values = {
        "strongest": looked[ranked[0]].label,
        "share": say.percent(shares[ranked[0]]),
        "others": say.percent(sum(share for share, each in zip(shares, looked, strict=True) if each.kind != "word")),
        "where": s.text(f"where.{int(3 * (place // width) / height)}{int(3 * (place % width) / width)}"),
        "layers": sum(layer.part != "mid" for layer in maps.layers),
        "steps": len(recording.steps),
    }
    numbers = {"shares": {each.label: share for each, share in zip(looked, shares, strict=True)}}
    centre = [(place % width + 0.5) / width, (place // width + 0.5) / height]
    data = {
        "start": ranked[0],
        "place": centre,
        "labels": [each.label for each in looked],
        "kinds": [each.kind for each in looked],
        "views": views,
        "steps": steps,
    }
    return Figure(
        "heat", body, s.rich("heat.caption", **values), s.text("heat.alt", **values), (35,), numbers, data, wide=True
    )


def _by_step(recording: Recording, looked: list[Looked]) -> list[dict[str, object]]:
    assert recording.heat is not None
    side = COARSE
    height, width = recording.heat.size
    while (
        side > 8
        and len(looked) * len(recording.steps) * side * side * min(height, width) / max(height, width) > STEP_BYTES
    ):
        side //= 2
    found = []
    for index in range(len(recording.steps)):
        maps = recording.heat.step(index)
        if maps is None:
            return []
        found.append(_bytes(_rows(maps, looked), side))
    return found


def _stage(
    s: Strings,
    recording: Recording,
    looked: list[Looked],
    overall: Tensor,
    shares: list[float],
    views: list[dict[str, object]],
    by_step: bool,
) -> Markup:
    """The picture to touch, the words to choose, the resolution, and the ranking of the touched place."""
    image = recording.image
    small = image.copy()
    small.thumbnail((112, 112))
    buttons = []
    for number, (each, share) in enumerate(zip(looked, shares, strict=True)):
        alt = s.text("heat.map", word=each.label)
        thumb = picture(over(small, overall[number]), alt, most=8_000) if each.kind == "word" else None
        buttons.append(
            element(
                "button",
                thumb,
                span("word", each.label),
                element("small", say.percent(share)),
                type="button",
                class_=f"pick {each.kind}",
                data_word=number,
                aria_pressed="false",
            )
        )
    options = [element("option", view["label"], value=number) for number, view in enumerate(views)]
    if by_step:
        options.append(element("option", s.text("heat.step"), value="step"))
    stage = div(
        "stage",
        picture(image, s.text("alt.result", prompt=recording.prompt), most=2 * PICTURE_BYTES),
        element("canvas", aria_hidden="true", width=1, height=1),
        span("cross", aria_hidden="true", hidden=True),
        tabindex=0,
        role="group",
        aria_label=s.text("heat.stage"),
        data_stage=True,
    )
    side = div(
        "stage-side",
        element(
            "p",
            element("label", s.text("heat.view"), " ", element("select", options, data_view=True)),
            element(
                "label",
                s.text("player.step"),
                " ",
                element("input", type="range", min=0, max=len(recording.steps) - 1, value=0, data_time=True),
                hidden=True,
                data_heat_step=True,
            ),
            class_="choices",
        ),
        div("picks", buttons, role="group", aria_label=s.text("heat.words")),
        div(
            "ranking",
            element("h4", s.text("heat.here")),
            element("ol", data_ranking=True, aria_live="polite"),
            element("p", s.text("heat.touch"), class_="hint"),
        ),
    )
    return div("heat", stage, side)


def absence(trials: Trials, words: Strings | None = None) -> Figure:
    """The honest check: the same noise without each of the strongest words. Attention is not causation."""
    s = words or strings()
    columns = [
        div(
            "column",
            picture(trials.same, s.text("absence.with"), class_="result", most=40_000),
            element("b", s.text("absence.with")),
        )
    ]
    rows = []
    for each in trials.without:
        label = s.text("absence.without", word=each.word)
        columns.append(
            div(
                "column",
                picture(each.drawn.image, label, class_="result", most=40_000),
                picture(
                    difference(trials.same, each.drawn.image), s.text("absence.difference", word=each.word), most=30_000
                ),
                element("b", span("struck", each.word)),
            )
        )
        rows.append((each.word, each.share, each.drawn.distance))
    if not rows:
        none = s.rich("absence.none")
        return Figure("absence", element("p", none, class_="said"), none, s.text("absence.none"))
    tables = div(
        "pair",
        div(
            "",
            element("h4", s.text("absence.attention")),
            bars([(w, "purple", 100 * share) for w, share, _ in rows], unit=" %"),
        ),
        div("", element("h4", s.text("absence.change")), bars([(w, "orange", change) for w, _, change in rows])),
    )
    agree = max(rows, key=lambda row: row[1])[0] == max(rows, key=lambda row: row[2])[0]
    values = {
        "steps": trials.steps,
        "most": max(rows, key=lambda row: row[2])[0],
        "change": say.number(max(row[2] for row in rows)),
        "strongest": rows[0][0],
    }
    caption = s.rich("absence.caption", **values) + Markup(" ")
    caption += s.rich("absence.agree" if agree else "absence.differ", **values)
    numbers = {"without": [{"word": w, "attention": a, "change": c} for w, a, c in rows], "steps": trials.steps}
    body = join([div("filmstrip large", columns), tables])
    return Figure("absence", body, caption, s.text("absence.alt", **values), (), numbers, wide=True)
