"""The few types that carry everything.

Shape comments everywhere in Tintype use these letters:

    b   batch                   c   channels                h w   height, width of latents
    s   tokens of text (77 k)   d   width of a feature      H W   height, width of pixels (H = 8 h)
    n   tokens of an attention  k   extra channels          v     width of the vector embedding

One coordinate is used throughout: ``x = x0 + sigma * noise``, where ``x0`` has unit variance (latents) and
``sigma`` is the standard deviation of the noise in it (Karras et al. 2022, arXiv 2206.00364, section 2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Sigma: TypeAlias = "float | Tensor"
"""A noise level, in units of the latents' standard deviation. A tensor of shape (b,) while training."""

Denoise: TypeAlias = "Callable[[Tensor, Sigma], Tensor]"
"""(b c h w), sigma -> the estimate of x0, (b c h w). All that a solver ever sees of a model."""

Noise: TypeAlias = "Callable[[float, float], Tensor]"
"""Unit-variance noise of the interval (sigma, sigma_next), (b c h w)."""


@dataclass(frozen=True)
class Conditioning:
    """What a noise predictor is told beside the noisy latents and the time.

    ``context`` is None for a network that was trained without text.
    """

    context: Tensor | None  # (b s d)    text features, d = 768 | 1024 | 2048
    vector: Tensor | None = None  # (b v)      SDXL: pooled text + sizes, v = 2816
    concat: Tensor | None = None  # (b k h w)  inpainting checkpoints: mask + masked latents, k = 5
    guidance: Tensor | None = None  # (b,)     LCMs: the guidance scale that they imitate

    def map(self, change: Callable[[Tensor], Tensor]) -> Conditioning:
        """The same conditioning with ``change`` applied to each tensor that is there."""
        tensors = {name: getattr(self, name) for name in _TENSORS}
        return replace(self, **{name: change(t) for name, t in tensors.items() if t is not None})

    def __getitem__(self, images: slice) -> Conditioning:
        """The conditioning of some images of the batch."""
        return self.map(lambda tensor: tensor[images])

    def to(self, *args, **kwargs) -> Conditioning:
        """``Tensor.to`` on each tensor."""
        return self.map(lambda tensor: tensor.to(*args, **kwargs))

    @staticmethod
    def join(parts: list[Conditioning]) -> Conditioning:
        """Several conditionings as one batch, in order. All must have the same tensors and lengths."""
        import torch

        def cat(name: str) -> Tensor | None:
            tensors = [getattr(part, name) for part in parts]
            return None if tensors[0] is None else torch.cat(tensors)

        return Conditioning(*(cat(name) for name in _TENSORS))


_TENSORS = ("context", "vector", "concat", "guidance")


@dataclass(frozen=True)
class Step:
    """One step of a solver: the unit of progress, preview, explanation and cancelling.

    A step owns its tensors: solvers never write in place, so a step may be kept.
    """

    index: int
    sigma: float
    sigma_next: float
    x: Tensor  # (b c h w) before the step
    denoised: Tensor  # (b c h w) what the model believes the picture is, at (x, sigma)
    x_next: Tensor  # (b c h w) after it
