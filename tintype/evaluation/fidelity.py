"""Prompt fidelity: whether pictures show what the words asked for, as the judge reads them.

In the manner of GenEval (Ghosh et al. 2023, arXiv 2310.11513): an independent network looks for each thing that the
prompt names. Beside it stand what a guess would reach and what the judge reaches on drawn pictures of the same scenes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tintype.evaluation.examined import Examined
from tintype.evaluation.figures import PERCENT, Figure, Tick, Work
from tintype.evaluation.groups import Group
from tintype.evaluation.intervals import bootstrap_ratio, wilson
from tintype.evaluation.reader import ATTRIBUTES, NOT_THERE, OWN, Judge, labels_of, read
from tintype.evaluation.teaching import drawn
from tintype.scenes import FULL, Scene, Vocabulary

NAMES = {"sky": "weather", "count": "number"}
"""What attributes are called in reports, where it is not the name of a scene's field."""

ALL = "everything"


def fidelity_figures(examined: Examined, group: Group, judge: Judge) -> Work:
    """Of every attribute that the prompts name, and of all of a prompt together."""
    yield Tick(f"judging {group.name}", 0, 1)
    labels = asked_for(group.scenes)
    pictures = drawn(group.scenes, examined.size)
    generated = right(judge, group.pixels, labels)
    ceiling = right(judge, pictures, labels)
    through = right(judge, rebuilt(examined, pictures), labels)
    figures = []
    for name, known in labels.items():
        there = known != NOT_THERE
        if there.any():
            columns = [hits[name][there].tolist() for hits in (generated, ceiling, through)]
            figures.append(_figure(group, NAMES.get(name, name), *columns, chance=chance(name, examined.vocabulary)))
    together = [all_right(hits, labels) for hits in (generated, ceiling, through)]
    figures.append(_figure(group, ALL, *together, chance=None))
    yield Tick(f"judging {group.name}", 1, 1)
    return figures


def _figure(
    group: Group, name: str, generated: list[bool], ceiling: list[bool], through: list[bool], chance: float | None
) -> Figure:
    of = len(generated)
    low, high = bootstrap_ratio(generated, ceiling)
    part = sum(generated) / max(1, sum(ceiling))
    beside = {} if chance is None else {"chance": chance}
    beside |= {"drawn": sum(ceiling) / of, "drawn, through the autoencoder": sum(through) / of}
    note = f"{part:.0%} of drawn ({low:.0%} to {high:.0%})"
    value, interval = sum(generated) / of, wilson(sum(generated), of)
    return Figure("Fidelity", f"{name}, {group.name}", value, interval, beside, PERCENT, of, note)


def asked_for(scenes: list[Scene]) -> dict[str, Tensor]:
    """The labels that the full captions name. A natural colour is not named."""
    labels = labels_of(scenes)
    own = ATTRIBUTES["colour"].index(OWN)
    labels["colour"] = torch.where(labels["colour"] == own, NOT_THERE, labels["colour"])
    return labels


def right(judge: Judge, pixels: Tensor, labels: dict[str, Tensor]) -> dict[str, Tensor]:
    """For every attribute which pictures show the label, (n,) bool; False where there is none."""
    said = read(judge, pixels)
    return {name: said[name] == known for name, known in labels.items()}


def all_right(hits: dict[str, Tensor], labels: dict[str, Tensor]) -> list[bool]:
    """Which pictures show all that was asked for."""
    columns = [hits[name] | (known == NOT_THERE) for name, known in labels.items()]
    return torch.stack(columns).all(dim=0).tolist()


def rebuilt(examined: Examined, pixels: Tensor) -> Tensor:
    """Pictures (n 3 H W) through the model's autoencoder and back."""
    model = examined.model
    parts = [model.decode(model.encode(part)).cpu().clamp(-1, 1) for part in pixels.split(16)]
    return torch.cat(parts)


def chance(name: str, vocabulary: Vocabulary) -> float:
    """How often a guess among the values that the model knows is right; where it knows one, always."""
    plural = {"sky": "skies", "subject": "subjects"}.get(name, f"{name}s")
    assert hasattr(FULL, plural)
    values = len(getattr(vocabulary, plural))
    return 1 / (values + 1) if name == "subject" else 1 / values  # there may be nothing
