"""How it learnt: training examples, one real training step, and CLIP. The article's figures 14-17, 26-29 and 31."""

from __future__ import annotations

from markupsafe import Markup
from torch import Tensor

from tintype.illustrate.figures import numbers as say
from tintype.illustrate.figures.charts import bars, curves, matrix
from tintype.illustrate.figures.figure import Figure
from tintype.illustrate.figures.html import div, element, join, span
from tintype.illustrate.figures.ink import channels, picture, strip
from tintype.illustrate.figures.parts import arrow
from tintype.illustrate.strings import Strings, strings
from tintype.illustrate.trials.learning import Example, Learning
from tintype.illustrate.trials.recognition import Recognition

THUMB = 96
GALLERY = 12


def _small(image, alt: str, side: int = THUMB) -> Markup:
    copy = image.copy()
    copy.thumbnail((side, side))
    return picture(copy, alt, class_="result", most=9_000)


def captions(learning: Learning, words: Strings | None = None) -> Figure:
    """Rows of the training set: pictures and their captions."""
    s = words or strings()
    rows = learning.rows
    cards = [
        element("figure", _small(image, caption), element("figcaption", caption), class_="card")
        for image, caption in list(zip(rows.pictures, rows.captions, strict=True))[:GALLERY]
    ]
    values = {"shown": len(cards), "of": f"{rows.of:,}", "first": rows.captions[0]}
    caption = s.rich("captions.own" if rows.own else "captions.foreign", **values)
    return Figure("captions", div("cards", cards), caption, s.text("captions.alt", **values), (26,), {"captions": list(rows.captions)})


def example(learning: Learning, number: int, words: Strings | None = None) -> Figure:
    """A training example is made: pick a picture, draw noise, pick an amount, add."""
    s = words or strings()
    each = learning.examples[number]
    stages = [
        (s.text("example.pick"), _small(each.picture, each.caption)),
        (s.text("example.noise"), picture(channels(each.noise), s.text("example.noise_alt"))),
        (s.text("example.amount"), div("tensor mint", element("b", f"{each.amount} / 50"), element("small", f"t {each.timestep}"))),
        (s.text("example.add"), picture(channels(each.noisy), s.text("example.noisy_alt"))),
    ]
    blocks: list[Markup] = []
    for place, (label, drawn) in enumerate(stages):
        if place:
            blocks.append(arrow(class_="short"))
        blocks.append(div("labelled", element("small", element("b", f"{place + 1} "), label), drawn))
    if each.noisy_image is not None:
        blocks.append(div("labelled", element("small", s.text("example.decoded")), _small(each.noisy_image, s.text("example.decoded"))))
    values = {"amount": each.amount, "timestep": each.timestep, "sigma": say.number(each.sigma), "caption": each.caption}
    values["signal"] = say.percent(1 / (1 + each.sigma**2) ** 0.5)
    values["number"] = number + 1
    return Figure(
        f"example-{number + 1}", div("flow", blocks), s.rich("example.caption", **values), s.text("example.alt", **values),
        (14 + number,), values,
    )  # fmt: skip


def table(learning: Learning, words: Strings | None = None) -> Figure:
    """The training set as the network sees it: amount, noisy latents, text; and the label, the noise."""
    s = words or strings()
    head = [s.text(f"table.{key}") for key in ("number", "picture", "amount", "latents", "text", "label")]
    lines = [
        element(
            "tr",
            element("td", number + 1),
            element("td", _small(each.picture, each.caption, 64)),
            element("td", element("b", each.amount), element("small", f"t {each.timestep}"), class_="ink mint"),
            element("td", picture(channels(each.noisy), s.text("example.noisy_alt"))),
            element("td", each.caption, class_="words"),
            element("td", picture(channels(each.noise), s.text("example.noise_alt"))),
        )
        for number, each in enumerate(learning.examples)
    ]
    body = div(
        "scroll",
        element(
            "table",
            element("thead", element("tr", [element("th", name, scope="col") for name in head])),
            element("tbody", lines),
            class_="data",
        ),
    )
    amounts = ", ".join(str(each.amount) for each in learning.examples)
    values = {"rows": len(lines), "amounts": amounts, "times": 1000}
    numbers = {"rows": [[e.caption, e.amount, e.timestep, e.sigma] for e in learning.examples]}
    return Figure("dataset", body, s.rich("table.caption", **values), s.text("table.alt", **values), (16, 31), numbers, wide=True)


def step(learning: Learning, words: Strings | None = None) -> Figure:
    """A real training step on a copy of the network: pick, predict, compare, update."""
    s = words or strings()
    taken = learning.step
    if taken is None:
        why = s.rich(f"learn.why_{learning.why_not}")
        return Figure("training-step", element("p", why, class_="said"), why, s.text(f"learn.why_{learning.why_not}"), (17,))
    rows = [_compared(s, example, predicted) for example, predicted in zip(learning.examples, taken.predicted, strict=True)]
    gradient = bars([(part, "pink", norm) for part, norm in taken.gradients])
    body = join(
        [
            div("rows", rows[:3]),
            div(
                "pair",
                div("", element("h4", s.text("learn.gradients")), gradient),
                div("", element("h4", s.text("learn.loss")),
                    bars([(s.text("learn.before"), "pink", taken.loss), (s.text("learn.after"), "mint", taken.loss_after)], digits=4)),
            ),
        ]
    )  # fmt: skip
    values = {
        "loss": say.number(taken.loss, 4),
        "after": say.number(taken.loss_after, 4),
        "moved": say.percent(taken.moved) if taken.moved >= 1e-3 else say.number(taken.moved, 2),
        "parameters": say.count(taken.parameters),
        "largest": max(taken.gradients, key=lambda pair: pair[1])[0],
    }
    numbers = {"loss": taken.loss, "loss after": taken.loss_after, "gradients": dict(taken.gradients), "moved": taken.moved}
    return Figure(
        "training-step", body, s.rich("learn.caption", **values), s.text("learn.alt", **values), (17,), numbers, wide=True
    )


def _compared(s: Strings, example: Example, predicted: Tensor) -> Markup:
    error = predicted - example.noise
    pairs = [
        ("learn.noisy", example.noisy, "pink"),
        ("learn.predicted", predicted, "pink"),
        ("learn.true", example.noise, "pink"),
        ("learn.error", error, "orange"),
    ]
    signs = ["→", "−", "=", None]
    drawn: list[Markup | None] = []
    for (key, tensor, ramp), sign in zip(pairs, signs, strict=True):
        drawn.append(div("labelled", picture(channels(tensor, ramp, 2.5), s.text(key)), element("small", s.text(key))))
        drawn.append(span("sign", sign) if sign else None)
    said = s.text("learn.row", amount=example.amount, mse=say.number(float(error.square().mean())))
    return div("flow tight", drawn, element("small", said))


def embeddings(found: Recognition, words: Strings | None = None) -> Figure:
    """CLIP, step 1: a picture and its caption become two vectors."""
    s = words or strings()
    pairs = [
        div("flow tight",
            _small(image, caption, 72), arrow(s.text("clip.image_encoder"), class_="orange"),
            picture(strip(picture_vector, "orange", 128, 14), s.text("clip.image_vector"), class_="strip"))
        for image, caption, picture_vector in list(zip(found.pictures, found.captions, found.image_embeddings, strict=True))[:2]
    ]  # fmt: skip
    texts = [
        div("flow tight", div("note small", element("p", caption)), arrow(s.text("clip.text_encoder"), class_="blue"),
            picture(strip(vector, "blue", 128, 14), s.text("clip.text_vector"), class_="strip"))
        for caption, vector in list(zip(found.captions, found.text_embeddings, strict=True))[:2]
    ]  # fmt: skip
    values = {"dim": found.text_embeddings.shape[1], "pairs": len(found.pictures)}
    body = div("pair", div("stack", pairs[0], texts[0]), div("stack", pairs[1], texts[1]))
    return Figure("clip-embed", body, s.rich("clip.embed", **values), s.text("clip.embed_alt", **values), (27,), values)


def similarity(found: Recognition, words: Strings | None = None) -> Figure:
    """CLIP, steps 2 and 3: compare each with each; update so that pairs agree. Before, after one step, after more."""
    s = words or strings()
    names = [str(number + 1) for number in range(len(found.pictures))]
    stages = [("clip.before", found.before), ("clip.once", found.once), ("clip.after", found.after)]
    panels = []
    ends = (min(float(m.min()) for _, m in stages), max(float(m.max()) for _, m in stages))
    for key, similarities in stages:
        title = s.text(key, steps=found.steps)
        right = int((similarities.argmax(1).eq(_count(similarities))).sum())
        panels.append(
            div("panel", element("h4", title), matrix(similarities, names, names, alt=title, ends=ends),
                element("small", s.text("clip.right", right=right, of=len(names))))
        )  # fmt: skip
    pictures = div("row eight", [div("labelled", _small(image, caption, 56), element("small", str(n + 1)))
                           for n, (image, caption) in enumerate(zip(found.pictures, found.captions, strict=True))])  # fmt: skip
    diagonal = float(found.before.diag().mean())
    rest = float((found.before.sum() - found.before.diag().sum()) / (found.before.numel() - len(found.before)))
    values = {
        "pairs": len(names),
        "steps": found.steps,
        "before": say.number(diagonal, 2),
        "rest": say.number(rest, 2),
        "after": say.number(float(found.after.diag().mean()), 2),
        "loss": say.number(found.losses[0]),
        "loss_once": say.number(found.losses[1]),
        "loss_after": say.number(found.losses[-1]),
        "image_gradient": say.number(found.gradients[0]),
        "text_gradient": say.number(found.gradients[1]),
    }
    curve = curves([(s.text("clip.loss"), "blue", found.losses)], alt=s.text("clip.loss"), height=80)
    body = join([pictures, div("panels", panels), div("labelled", curve, element("small", s.text("clip.loss")))])
    return Figure(
        "clip-compare", body, s.rich("clip.caption", **values), s.text("clip.alt", **values), (28, 29),
        values | {"losses": list(found.losses)}, wide=True,
    )  # fmt: skip


def _count(similarities: Tensor) -> Tensor:
    return similarities.new_tensor(range(len(similarities))).long()
