"""How it learnt: training examples, one real training step, and CLIP. The article's figures 14-17, 26-29 and 31."""

from __future__ import annotations

from math import sqrt

from markupsafe import Markup
from torch import Tensor

from tintype.illustrate.after import EXAMPLES, OF, Learnt
from tintype.illustrate.figures import numbers as say
from tintype.illustrate.figures.charts import bars, curves, matrix
from tintype.illustrate.figures.figure import Figure
from tintype.illustrate.figures.html import div, element, join, span
from tintype.illustrate.figures.ink import channels, picture, strip
from tintype.illustrate.figures.parts import arrow
from tintype.illustrate.learning import NoisyExample
from tintype.illustrate.strings import Strings, strings

THUMB = 96
GALLERY = 12


def _small(image, alt: str, side: int = THUMB) -> Markup:
    copy = image.copy()
    copy.thumbnail((side, side))
    return picture(copy, alt, class_="result", most=9_000)


def captions(learnt: Learnt, words: Strings | None = None) -> Figure:
    """Rows of the training set: pictures and their captions."""
    s = words or strings()
    rows = learnt.rows
    cards = [
        element("figure", _small(row.image, row.caption), element("figcaption", row.caption), class_="card")
        for row in rows[:GALLERY]
    ]
    values = {"shown": len(cards), "first": rows[0].caption}
    caption = s.rich("captions.own" if learnt.own else "captions.foreign", **values)
    numbers = {"captions": [row.caption for row in rows]}
    return Figure("captions", div("cards", cards), caption, s.text("captions.alt", **values), (26,), numbers)


def example(learnt: Learnt, number: int, words: Strings | None = None) -> Figure:
    """A training example is made: pick a picture, draw noise, pick an amount, add."""
    s = words or strings()
    each, row, amount = learnt.examples[number], learnt.rows[number], EXAMPLES[number]
    stages = [
        (s.text("example.pick"), _small(row.image, row.caption)),
        (s.text("example.noise"), picture(channels(each.noise), s.text("example.noise_alt"))),
        (
            s.text("example.amount"),
            div("tensor mint", element("b", f"{amount} / {OF}"), element("small", f"t {each.timestep}")),
        ),
        (s.text("example.add"), picture(channels(_unit(each)), s.text("example.noisy_alt"))),
    ]
    blocks: list[Markup] = []
    for place, (label, drawn) in enumerate(stages):
        if place:
            blocks.append(arrow(class_="short"))
        blocks.append(div("labelled", element("small", element("b", f"{place + 1} "), label), drawn))
    decoded = _small(learnt.pictures[number], s.text("example.decoded"))
    blocks.append(div("labelled", element("small", s.text("example.decoded")), decoded))
    values = {"amount": amount, "timestep": each.timestep, "sigma": say.number(each.sigma), "caption": each.caption}
    values["signal"] = say.percent(1 / (1 + each.sigma**2) ** 0.5)
    values["number"] = number + 1
    return Figure(
        f"example-{number + 1}",
        div("flow", blocks),
        s.rich("example.caption", **values),
        s.text("example.alt", **values),
        (14 + number,),
        values,
    )


def table(learnt: Learnt, words: Strings | None = None) -> Figure:
    """The training set as the network sees it: amount, noisy latents, text; and the label, the noise."""
    s = words or strings()
    head = [s.text(f"table.{key}") for key in ("number", "picture", "amount", "latents", "text", "label")]
    lines = [
        element(
            "tr",
            element("td", number + 1),
            element("td", _small(learnt.rows[number].image, each.caption, 64)),
            element("td", element("b", EXAMPLES[number]), element("small", f"t {each.timestep}"), class_="ink mint"),
            element("td", picture(channels(_unit(each)), s.text("example.noisy_alt"))),
            element("td", each.caption, class_="words"),
            element("td", picture(channels(each.noise), s.text("example.noise_alt"))),
        )
        for number, each in enumerate(learnt.examples)
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
    amounts = ", ".join(map(str, EXAMPLES))
    values = {"rows": len(lines), "amounts": amounts, "times": 1000}
    numbers = {"rows": [[e.caption, e.timestep, e.sigma, e.loss] for e in learnt.examples]}
    return Figure(
        "dataset", body, s.rich("table.caption", **values), s.text("table.alt", **values), (16, 31), numbers, wide=True
    )


def step(learnt: Learnt, words: Strings | None = None) -> Figure:
    """A real training step on a copy of the network: pick, predict, compare, update."""
    s = words or strings()
    taken = learnt.step
    assert taken is not None
    rows = [_compared(s, example) for example in learnt.examples]
    gradient = bars([(part, "pink", norm) for part, norm in taken.grad_norms.items()])
    body = join(
        [
            div("rows", rows[:3]),
            div(
                "pair",
                div("", element("h4", s.text("learn.gradients")), gradient),
                div(
                    "",
                    element("h4", s.text("learn.loss")),
                    bars(
                        [
                            (s.text("learn.before"), "pink", taken.loss_before),
                            (s.text("learn.after"), "mint", taken.loss_after),
                        ],
                        digits=4,
                    ),
                ),
            ),
        ]
    )
    values = {
        "loss": say.number(taken.loss_before, 4),
        "after": say.number(taken.loss_after, 4),
        "moved": f"{100 * max(taken.change_norms.values()):.2g} %",
        "rate": f"{taken.learning_rate:g}",
        "norm": say.number(taken.grad_norm),
        "parameters": say.count(taken.parameters),
        "largest": max(taken.grad_norms, key=taken.grad_norms.__getitem__),
    }
    numbers = {
        "loss": taken.loss_before,
        "loss after": taken.loss_after,
        "gradients": taken.grad_norms,
        "changes": taken.change_norms,
    }
    return Figure(
        "training-step",
        body,
        s.rich("learn.caption", **values),
        s.text("learn.alt", **values),
        (17,),
        numbers,
        wide=True,
    )


def missing(learnt: Learnt, words: Strings | None = None) -> Figure:
    """Why no step was taken."""
    s = words or strings()
    key = f"learn.why_{learnt.why_not}"
    return Figure("training-step", element("p", s.rich(key), class_="said"), s.rich(key), s.text(key), (17, 27, 28, 29))


def _unit(example: NoisyExample) -> Tensor:
    """The noisy latents at about unit variance, as the network sees them."""
    return example.x / sqrt(1 + example.sigma**2)


def _compared(s: Strings, example: NoisyExample) -> Markup:
    error = example.predicted - example.noise
    pairs = [
        ("learn.noisy", _unit(example), "pink"),
        ("learn.predicted", example.predicted, "pink"),
        ("learn.true", example.noise, "pink"),
        ("learn.error", error, "orange"),
    ]
    signs = ["→", "−", "=", None]
    drawn: list[Markup | None] = []
    for (key, tensor, ramp), sign in zip(pairs, signs, strict=True):
        drawn.append(div("labelled", picture(channels(tensor, ramp, 2.5), s.text(key)), element("small", s.text(key))))
        drawn.append(span("sign", sign) if sign else None)
    said = s.text("learn.row", time=example.timestep, mse=say.number(float(error.square().mean())))
    return div("flow tight", drawn, element("small", said))


def embeddings(learnt: Learnt, words: Strings | None = None) -> Figure:
    """CLIP, step 1: a picture and its caption become two vectors."""
    s = words or strings()
    found = learnt.agreement
    assert found is not None
    images = [row.image for row in learnt.rows[:2]]
    pairs = [
        div(
            "flow tight",
            _small(image, caption, 72),
            arrow(s.text("clip.image_encoder"), class_="orange"),
            picture(strip(picture_vector, "orange", 128, 14), s.text("clip.image_vector"), class_="strip"),
        )
        for image, caption, picture_vector in zip(images, found.captions, found.image_features[:2], strict=False)
    ]
    texts = [
        div(
            "flow tight",
            div("note small", element("p", caption)),
            arrow(s.text("clip.text_encoder"), class_="blue"),
            picture(strip(vector, "blue", 128, 14), s.text("clip.text_vector"), class_="strip"),
        )
        for caption, vector in list(zip(found.captions, found.text_features, strict=True))[:2]
    ]
    values = {"dim": found.text_features.shape[1]}
    body = div("pair", div("stack", pairs[0], texts[0]), div("stack", pairs[1], texts[1]))
    caption = s.rich("clip.embed_own" if found.own else "clip.embed", **values)
    return Figure("clip-embed", body, caption, s.text("clip.embed_alt", **values), (27,), values)


def similarity(learnt: Learnt, words: Strings | None = None) -> Figure:
    """CLIP, steps 2 and 3: compare each with each; update so that pairs agree. Before, after one step, after more."""
    s = words or strings()
    found = learnt.agreement
    assert found is not None
    names = [str(number + 1) for number in range(len(found.captions))]
    first, last = found.steps[0].similarity, found.similarity
    stages = [("clip.before", first), ("clip.once", found.steps[1].similarity), ("clip.after", last)]
    losses = [*(step.loss for step in found.steps), found.loss]
    panels = []
    ends = (min(float(m.min()) for _, m in stages), max(float(m.max()) for _, m in stages))
    for key, similarities in stages:
        title = s.text(key, steps=len(found.steps))
        right = int((similarities.argmax(1).eq(_count(similarities))).sum())
        panels.append(
            div(
                "panel",
                element("h4", title),
                matrix(similarities, names, names, alt=title, ends=ends),
                element("small", s.text("clip.right", right=right, of=len(names))),
            )
        )
    pictures = div(
        "row eight",
        [
            div("labelled", _small(row.image, row.caption, 112), element("small", str(n + 1)))
            for n, row in enumerate(learnt.rows[: len(names)])
        ],
    )
    rest = float((first.sum() - first.diag().sum()) / (first.numel() - len(first)))
    values = {
        "pairs": len(names),
        "steps": len(found.steps),
        "before": say.number(float(first.diag().mean()), 2),
        "rest": say.number(rest, 2),
        "after": say.number(float(last.diag().mean()), 2),
        "loss": say.number(losses[0]),
        "loss_once": say.number(losses[1]),
        "loss_after": say.number(losses[-1]),
        "image_gradient": say.number(found.steps[0].grad_norms["image tower"]),
        "text_gradient": say.number(found.steps[0].grad_norms["text tower"]),
    }
    curve = curves([(s.text("clip.loss"), "blue", losses)], alt=s.text("clip.loss"), height=80)
    body = join([pictures, div("panels", panels), div("labelled", curve, element("small", s.text("clip.loss")))])
    return Figure(
        "clip-compare",
        body,
        s.rich("clip.caption_own" if found.own else "clip.caption", **values),
        s.text("clip.alt", **values),
        (28, 29),
        values | {"losses": losses},
        wide=True,
    )


def _count(similarities: Tensor) -> Tensor:
    return similarities.new_tensor(range(len(similarities))).long()
