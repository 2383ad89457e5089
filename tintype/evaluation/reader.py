"""The judge: a small network that reads from a picture what it shows.

It was trained on drawn scenes and their exact labels only, never on pictures that a model made, and has no part in
any model's training. So it can say whether a generated picture shows what the words asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from tintype.errors import CheckpointError
from tintype.scenes import FULL, Scene

SIDE = 128
"""Pixels along each side of what the judge sees; other pictures are brought to it."""

NOTHING, OWN = "nothing", "its own"

ATTRIBUTES: dict[str, tuple[object, ...]] = {
    "setting": FULL.settings,
    "time": FULL.times,
    "sky": FULL.skies,
    "subject": (NOTHING, *FULL.subjects),
    "colour": (OWN, *FULL.colours),
    "place": FULL.places,
    "count": FULL.counts,
    "style": FULL.styles,
}
"""What is read, by the names of a scene's fields, and the values that it can have."""

NOT_THERE = -1
"""The label of an attribute that a scene does not have: the colour where there is no subject."""

WEIGHTS = Path(__file__).parent / "judge" / "model.safetensors"
CHANNELS = (48, 64, 128, 192)
NUM_FEATURES = 128


class Bottleneck(nn.Module):
    """(b c h w) -> the same, with a way past: half as many channels see the neighbours."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.inner = nn.Sequential(
            convolution(channels, half, kernel=1),
            convolution(half, half),
            nn.Conv2d(half, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Inner path and way past, added."""
        return F.relu(x + self.inner(x))


def convolution(channels: int, out: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution, its norm, ReLU."""
    conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU())


class Judge(nn.Module):
    """Pictures (b 3 128 128) in [-1, 1] -> one row of scores for every attribute."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = CHANNELS
        self.trunk = nn.Sequential(
            nn.Conv2d(3, a, 4, stride=4),  # (b 3 128 128) -> (b a 32 32)
            nn.ReLU(),
            convolution(a, b, stride=2),
            Bottleneck(b),
            Bottleneck(b),
            convolution(b, c, stride=2),
            Bottleneck(c),
            Bottleneck(c),
            convolution(c, d, stride=2),  # (b c 8 8) -> (b d 4 4)
            Bottleneck(d),
        )
        self.to_features = nn.Linear(d * 4 * 4, NUM_FEATURES)  # where a thing stands is kept until here
        self.heads = nn.Linear(NUM_FEATURES, sum(map(len, ATTRIBUTES.values())))

    def features(self, pixels: Tensor) -> Tensor:
        """(b 3 H W) in [-1, 1] -> (b 128): what the scores are made of."""
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        return F.relu(self.to_features(self.trunk(pixels).flatten(1)))

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """(b 3 H W) -> for every attribute (b number of its values)."""
        scores = self.heads(self.features(pixels)).split([len(values) for values in ATTRIBUTES.values()], dim=1)
        return dict(zip(ATTRIBUTES, scores, strict=True))


def at_its_size(pixels: Tensor) -> Tensor:
    """(b 3 H W) of any size -> (b 3 128 128)."""
    if pixels.shape[2:] == (SIDE, SIDE):
        return pixels
    return F.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)


def labels_of(scenes: Sequence[Scene]) -> dict[str, Tensor]:
    """For every attribute the numbers of its values, (n,) int64; ``NOT_THERE`` where a scene does not have it."""
    return {name: torch.tensor([_label(scene, name) for scene in scenes]) for name in ATTRIBUTES}


def _label(scene: Scene, name: str) -> int:
    value = getattr(scene, name)
    if name == "subject":
        value = value or NOTHING
    elif name == "colour" and scene.subject is not None:
        value = value or OWN
    values = ATTRIBUTES[name]
    return values.index(value) if value in values else NOT_THERE


@cache
def load_judge() -> Judge:
    """The judge that ships with Tintype, in fp32. See `judge_from`."""
    return judge_from(WEIGHTS)


def judge_from(weights: Path) -> Judge:
    """A judge from its file, in fp32.

    Raises:
        CheckpointError: they are missing, or of another network.
    """
    if not weights.exists():
        raise CheckpointError(f"The judge's weights are missing: expected {weights}. `tintype train judge` makes them.")
    judge = Judge()
    found = judge.load_state_dict({name: weight.float() for name, weight in load_file(weights).items()}, strict=False)
    missing = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or found.unexpected_keys:
        raise CheckpointError(f"{weights} is no judge of this version: {(missing + found.unexpected_keys)[0]} differs.")
    return judge.eval().requires_grad_(False)


@torch.no_grad()
def read(judge: Judge, pixels: Tensor, *, batch: int = 64) -> dict[str, Tensor]:
    """(n 3 H W) in [-1, 1] -> for every attribute the value that scores highest, (n,)."""
    parts = [judge(at_its_size(part)) for part in pixels.split(batch)]
    return {name: torch.cat([part[name].argmax(dim=1) for part in parts]) for name in ATTRIBUTES}


@torch.no_grad()
def judge_features(judge: Judge, pixels: Tensor, *, batch: int = 64) -> Tensor:
    """(n 3 H W) in [-1, 1] -> (n 128)."""
    return torch.cat([judge.features(at_its_size(part)) for part in pixels.split(batch)])
