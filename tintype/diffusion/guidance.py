"""Wrappers of a denoiser: classifier-free guidance, and masks for models that were not trained to inpaint."""

from __future__ import annotations

from math import inf
from typing import Any

import torch
from torch import Tensor

from tintype.diffusion.denoiser import Denoiser
from tintype.errors import SettingsError
from tintype.types import Denoise, Sigma


def guided(
    denoiser: Denoiser,
    cond: Any,
    uncond: Any,
    scale: float,
    *,
    rescale: float = 0.0,
    interval: tuple[float, float] | None = None,
    batched: bool = True,
) -> Denoise:
    """Classifier-free guidance: F = F_uncond + scale * (F_cond - F_uncond) (Ho and Salimans 2022, arXiv 2207.12598).

    ``rescale`` in [0, 1] pulls the std of F back to that of F_cond (``rescaled``). ``interval`` = (low, high) guides
    only where low < sigma <= high (Kynkäänniemi et al. 2024, arXiv 2404.07724); outside it, and with scale 1, there
    is no unconditional pass. ``batched`` runs both passes as one batch, uncond first; conditionings are joined by
    their type's own ``join``. False runs them one after the other, in half the memory.

    Raises SettingsError where guidance is asked for and ``uncond`` is None while ``cond`` is not.
    """

    def unguided(x: Tensor, sigma: Sigma) -> Tensor:
        return denoiser(x, sigma, cond)

    if scale == 1:
        return unguided
    if uncond is None and cond is not None:
        raise SettingsError(f"guidance scale {scale:g} needs an unconditional conditioning; give one, or scale 1")
    low, high = interval or (0.0, inf)  # of float sigmas: solvers give no others
    passes = _one_batch(denoiser, cond, uncond) if batched else _two_calls(denoiser, cond, uncond)

    def with_guidance(x: Tensor, sigma: Sigma) -> Tensor:
        if interval is not None and not low < sigma <= high:
            return unguided(x, sigma)
        output_cond, output_uncond = passes(x, sigma)
        output = output_uncond + scale * (output_cond - output_uncond)
        if rescale > 0:
            output = rescaled(output, output_cond, rescale)
        return denoiser.x0_from(output, x, sigma)

    return with_guidance


def rescaled(output: Tensor, output_cond: Tensor, phi: float) -> Tensor:
    """The guided output with its std, per image, moved by the share phi to that of the conditional one.

    Lin et al. 2023 (arXiv 2305.08891), section 3.4, eq. 14 to 16. It acts on the network's own output F: done on
    x0, or on another prediction, the result is another one.
    """
    pixels = tuple(range(1, output.ndim))
    factor = output_cond.std(pixels, keepdim=True) / output.std(pixels, keepdim=True)  # (b 1 1 1)
    return output * (phi * factor + (1 - phi))


def masked(denoise: Denoise, mask: Tensor, original: Tensor, noise: Tensor) -> Denoise:
    """Inpainting with an ordinary model: outside the mask every step sees, and yields, the original.

    mask: (b|1 1 h w), 1 where the picture is to be drawn anew. original: (b c h w) latents. noise: (b c h w), the
    unit noise that the run started from. Outside the mask x is put on the path ``original + sigma * noise`` before
    each call, and the estimate of x0 is the original itself, so that a solver stays on that path.
    """

    def denoise_masked(x: Tensor, sigma: Sigma) -> Tensor:
        x = torch.lerp(original + sigma * noise, x, mask)
        return torch.lerp(original, denoise(x, sigma), mask)

    return denoise_masked


def _one_batch(denoiser: Denoiser, cond: Any, uncond: Any):
    both = None if cond is None else type(cond).join([uncond, cond])

    def passes(x: Tensor, sigma: Sigma) -> tuple[Tensor, Tensor]:
        sigmas = torch.cat([sigma, sigma]) if isinstance(sigma, Tensor) else sigma
        output_uncond, output_cond = denoiser.raw(torch.cat([x, x]), sigmas, both).chunk(2)  # (2b c h w)
        return output_cond, output_uncond

    return passes


def _two_calls(denoiser: Denoiser, cond: Any, uncond: Any):
    def passes(x: Tensor, sigma: Sigma) -> tuple[Tensor, Tensor]:
        return denoiser.raw(x, sigma, cond), denoiser.raw(x, sigma, uncond)

    return passes
