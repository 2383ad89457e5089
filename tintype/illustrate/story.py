"""The order in which the page tells what happened: the article's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from tintype.illustrate.after import After
from tintype.illustrate.figures import (
    anatomy,
    attention,
    autoencoder,
    dials,
    inside,
    learning,
    parts,
    steps,
    time,
    words,
)
from tintype.illustrate.figures import numbers as say
from tintype.illustrate.figures.figure import Figure
from tintype.illustrate.figures.looks import Looks, looks
from tintype.illustrate.recording import Recording
from tintype.illustrate.strings import Strings
from tintype.illustrate.trials import strongest
from tintype.images import to_image, to_tensor


@dataclass(frozen=True)
class Chapter:
    """One part of the story."""

    name: str
    figures: tuple[Figure, ...]


def chapters(recording: Recording, after: After | None, s: Strings) -> list[Chapter]:
    """The parts of the story for which there is anything to show."""
    told = {
        "parts": _parts(recording, after, s),
        "words": [words.tokens(recording, s), words.embedding(recording, s), words.likeness(recording, s)],
        "time": _time(recording, after, s),
        "attention": _attention(recording, after, s),
        "inside": _inside(recording, after, s),
        "autoencoder": _autoencoder(recording, after, s),
        "learning": _learning(after, s),
        "dials": _dials(after, s),
    }
    if recording.context is None:
        del told["words"]
    return [Chapter(name, tuple(figures)) for name, figures in told.items() if figures]


def _parts(recording: Recording, after: After | None, s: Strings) -> list[Figure]:
    found = [parts.first_sight(recording, s)]
    if after is not None:
        tried = after.trials
        before = after.given or tried.same
        args = (tried.altered_prompt, tried.altered, tried.altered_strength, tried.altered_steps)
        found.append(parts.alteration(before, *args, s))
    found += [parts.opening(recording, s), parts.three_tensors(recording, s)]
    if any(each.of == "noisy" for each in recording.decoded):
        found.append(parts.two_worlds(recording, s))
    return [*found, parts.chain(recording, s), anatomy.anatomy(recording, s)]


def _time(recording: Recording, after: After | None, s: Strings) -> list[Figure]:
    seen = _looks(recording, after)
    sheets = time.films(recording, seen)
    return [
        time.player(recording, seen, sheets, s),
        time.rows(recording, s),
        time.outline(recording, seen, s),
        steps.prediction(recording, sheets, s),
        steps.subtraction(recording, sheets, s),
        steps.pyramid(recording, seen, s),
        steps.guidance(recording, sheets, s),
    ]


def _looks(recording: Recording, after: After | None) -> Looks:
    if after is not None and after.estimates:
        return Looks(after.estimates, frozenset(range(len(after.estimates))))
    return looks(recording, linear_look(recording))


def linear_look(recording: Recording) -> Callable[[Tensor], Image.Image]:
    """A quick look at latents: the linear map to colours that comes nearest to this run's own painted steps."""
    pairs = [(recording.latents, recording.image)]
    pairs += [(recording.steps[each.index].denoised, each.image) for each in recording.decoded if each.of == "denoised"]
    xs = torch.cat([latents.float().flatten(1).T for latents, _ in pairs])  # (n c)
    _, h, w = recording.latents.shape
    small = [F.adaptive_avg_pool2d(to_tensor(image), (h, w))[0] for _, image in pairs]  # each (3 h w)
    ys = torch.cat([each.flatten(1).T for each in small])  # (n 3)
    matrix = torch.linalg.lstsq(F.pad(xs, (0, 1), value=1.0), ys).solution  # (c+1 3)

    def look(latents: Tensor) -> Image.Image:
        colours = F.pad(latents.float().flatten(1).T, (0, 1), value=1.0) @ matrix  # (n 3)
        return to_image(colours.T.unflatten(1, (h, w)).clamp(-1, 1))

    return look


def _attention(recording: Recording, after: After | None, s: Strings) -> list[Figure]:
    found = [attention.heat(recording, s)]
    return found if after is None else [*found, attention.absence(after.trials, s)]


def _inside(recording: Recording, after: After | None, s: Strings) -> list[Figure]:
    alone = [] if after is None else [inside.without_text(recording, after.trials, s)]
    return [*alone, inside.layers(recording, s), inside.time_embedding(recording, s), inside.movers(recording, s)]


def _autoencoder(recording: Recording, after: After | None, s: Strings) -> list[Figure]:
    if after is None:
        return []
    return [
        autoencoder.back_and_forth(after.trip, after.others, s),
        autoencoder.forward(after.trip, after.forward, s),
        autoencoder.both_ways(recording, after.trip, after.forward, s),
        autoencoder.cost(after.operations, recording, s),
    ]


def _learning(after: After | None, s: Strings) -> list[Figure]:
    if after is None:
        return []
    learnt = after.learnt
    found = [learning.captions(learnt, s)]
    if learnt.examples:
        found += [learning.example(learnt, 0, s), learning.example(learnt, 1, s), learning.table(learnt, s)]
    if learnt.step is None:
        return [*found, learning.missing(learnt, s)]
    return [*found, learning.step(learnt, s), learning.embeddings(learnt, s), learning.similarity(learnt, s)]


def _dials(after: After | None, s: Strings) -> list[Figure]:
    if after is None or after.dials is None:
        return []
    turned = after.dials
    found = [dials.scales(turned.scales, turned.scale_steps, s)]
    if turned.steps is not None:
        found.append(dials.steps(turned.steps, s))
    if turned.parting is not None:
        found.append(dials.two_prompts(turned.parting, s))
    return found


def recap(recording: Recording, after: After | None, s: Strings) -> list[tuple[str, Markup]]:
    """The questions that the page should have answered, and the answers with this run's numbers."""
    first, last = recording.outline_steps
    ranked = strongest(recording)
    said = s.text("recap.wordless")
    if ranked and after is not None and after.trials.without:
        most = max(after.trials.without, key=lambda each: each.drawn.distance).word
        number, share = ranked[0]
        said = s.text("recap.strongest", word=recording.words[number], share=say.percent(share), most=most)
    operations = after.operations if after is not None else None
    width, height = recording.image.size
    values = {
        "tokens": len(recording.tokens),
        "context": "–" if recording.context is None else say.shape(recording.context.shape),
        "latents": say.shape(recording.latents.shape),
        "pixels": say.shape((3, height, width)),
        "steps": len(recording.steps),
        "first_sigma": say.number(recording.steps[0].sigma),
        "last_sigma": say.number(recording.steps[-1].sigma_next),
        "attentions": sum(layer.kind == "cross-attention" for layer in recording.layers),
        "guidance": f"{recording.guidance_scale:g}",
        "ratio": f"{3 * width * height / recording.latents.numel():.0f}",
        "cost": "–" if operations is None else f"{operations[1] / operations[0]:.0f}",
        "first": first + 1,
        "last": last + 1,
        "strongest": said,
    }
    return [(s.text(f"recap.q{n}"), s.rich(f"recap.a{n}", **values)) for n in range(1, 9)]
