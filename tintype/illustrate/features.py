"""Inside the UNet while a run goes on: how far each layer moves the features, and the features as colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tintype.illustrate.parts import Clock
from tintype.illustrate.recording import LayerRecord
from tintype.illustrate.structure import Place, places
from tintype.models import UNet

THUMBNAIL = 32  # the longest side of the features as colours
FITTED = 16  # the principal components are fitted to the features at this size, at most
SHOWN = ("conv", "resnet", "transformer", "down", "up")
BRIGHT = 0.98  # this share of all values is within the range of the colours

Row = Callable[[], int | None]


class FeatureRecorder:
    """Watches every layer of a UNet for one picture, in the pass that is told the prompt.

    Args:
        unet: the network.
        num_steps: how many there will be at most.
        chosen: the steps at which features are kept as colours.
    """

    def __init__(self, unet: UNet, num_steps: int, chosen: tuple[int, ...]) -> None:
        self.chosen = chosen
        self.time_embeddings = torch.zeros(num_steps, unet.config.time_dim)
        self._places = places(unet)
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._moved: dict[str, list[float]] = {place.name: [] for place in self._places}
        self._colours: dict[str, Colours] = {}

    @contextmanager
    def watching(self, step: int, row: Row, clock: Clock) -> Iterator[None]:
        """Within the block, one evaluation of the network, every layer is watched."""
        norms: dict[str, tuple[Tensor, Tensor]] = {}  # of what is added, and of what it is added to
        with ExitStack() as stack:
            for place in self._places:
                for handle in self._hooks(place, step, row, norms, clock):
                    stack.callback(handle.remove)
            yield
        with clock.counting():
            ratios = torch.stack([added / stream for added, stream in norms.values()]).tolist() if norms else []
            for name, ratio in zip(norms, ratios, strict=True):
                self._moved[name].append(ratio)

    def _hooks(
        self, place: Place, step: int, row: Row, norms: dict[str, tuple[Tensor, Tensor]], clock: Clock
    ) -> Iterator[RemovableHandle]:
        module = place.module
        stream: list[Tensor] = []  # what the layer adds to

        def look(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            before = stream.pop() if stream else None
            if (at := row()) is None:
                return
            with clock.counting():
                features = output[at]
                self._shapes[place.name] = tuple(features.shape)
                if place.kind == "transformer":
                    before = inputs[0]
                if before is not None:
                    added = features if place.norm is not None else features - before[at]
                    norms[place.name] = norm(added), norm(before[at])
                if place.kind in SHOWN and step in self.chosen:
                    self._colours.setdefault(place.name, Colours()).add(features)

        if place.kind == "resnet":
            shortcut = module.shortcut
            assert isinstance(shortcut, nn.Module)
            yield shortcut.register_forward_hook(lambda *call: stream.append(call[2]))  # its output
            if place.name == "mid.resnets.0":
                yield module.register_forward_pre_hook(lambda *call: self._keep_time(call[1][1], step, row))
        elif place.norm is not None:
            yield place.norm.register_forward_pre_hook(lambda *call: stream.append(call[1][0]))  # its input
        yield module.register_forward_hook(look)

    def _keep_time(self, time: Tensor, step: int, row: Row) -> None:
        if (at := row()) is not None:
            self.time_embeddings[step] = time[at].float().cpu()

    def layers(self, num_steps: int) -> tuple[LayerRecord, ...]:
        """What was seen in the first ``num_steps`` steps."""
        return tuple(self._record(place, num_steps) for place in self._places)

    def _record(self, place: Place, num_steps: int) -> LayerRecord:
        moved, colours = self._moved[place.name][:num_steps], self._colours.get(place.name)
        return LayerRecord(
            place.name,
            place.kind,
            place.part,
            place.level,
            self._shapes.get(place.name, ()),
            sum(weight.numel() for weight in place.module.parameters()),
            tuple(moved) or None,
            None if colours is None else colours.pictures(),
            None if colours is None else tuple(colours.explained),
        )


def norm(features: Tensor) -> Tensor:
    """The length of all features as one vector, () fp32."""
    return torch.linalg.vector_norm(features, dtype=torch.float32)


class Colours:
    """A layer's features at several steps as red, green and blue: their first three principal components.

    The components are found anew at each step and turned together (an orthogonal Procrustes problem) to agree as well
    as they can with those of the step before, so that a colour keeps its meaning; all steps share one scale.
    """

    def __init__(self) -> None:
        self.explained: list[float] = []
        self._axes: Tensor | None = None  # (c 3)
        self._values: list[Tensor] = []  # (3 h w)

    def add(self, features: Tensor) -> None:
        """Features (c h w) of the next step."""
        pooled = F.adaptive_avg_pool2d(features.float(), _bounded(features.shape[1:], FITTED)).flatten(1).T  # (n c)
        mean = pooled.mean(0)
        axes, share = principal_axes(pooled - mean)
        if self._axes is None:
            axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()  # the largest weight is positive
        else:
            left, _, right = torch.linalg.svd(axes.T @ self._axes)
            axes = axes @ (left @ right)
        self._axes = axes
        self.explained.append(share)
        shown = F.adaptive_avg_pool2d(features.float(), _bounded(features.shape[1:], THUMBNAIL))  # (c h w)
        self._values.append(torch.einsum("chw,ck->khw", shown - mean[:, None, None], axes).cpu())

    def pictures(self) -> Tensor:
        """(g h w 3) uint8. Grey is a layer's mean."""
        values = torch.stack(self._values)  # (g 3 h w)
        scale = values.abs().transpose(0, 1).flatten(1).quantile(BRIGHT, dim=1).clamp(min=1e-12)  # (3,)
        colours = (values / scale[:, None, None]).clamp(-1, 1) * 127.5 + 127.5
        return colours.round().to(torch.uint8).permute(0, 2, 3, 1)


def principal_axes(centred: Tensor) -> tuple[Tensor, float]:
    """The three directions (c 3) along which features (n c) of mean 0 vary most, and their share of the variance."""
    n, c = centred.shape
    if n < c:  # the same directions from the smaller of the two matrices of products
        values, vectors = torch.linalg.eigh(centred @ centred.T)
        vectors = F.normalize(centred.T @ vectors[:, -3:], dim=0)
    else:
        values, vectors = torch.linalg.eigh(centred.T @ centred)
        vectors = vectors[:, -3:]
    axes = vectors.flip(1)
    axes = F.pad(axes, (0, 3 - axes.shape[1]))  # fewer than three places or channels
    return axes, float(values[-3:].sum() / values.sum().clamp(min=1e-12))


def _bounded(size: torch.Size, longest: int) -> tuple[int, int]:
    """A size of the same shape whose longer side is at most ``longest``."""
    h, w = size
    shrink = max(1.0, max(h, w) / longest)
    return max(1, round(h / shrink)), max(1, round(w / shrink))
