"""What the parts of the autoencoder's loss do, after the same number of crops, on scenes that were never trained on.

    nice -n 10 python -m benchmarks.claims.autoencoder_losses

Two perceptual distances: in the features of the chain's own CLIP, which the loss asks for, and in those of the judge,
an independent network that has no part in training. The gradient's size tells whether fine detail is there at all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.claims.ground import NEVER, Results, afresh, arguments, ground, seconds_of, unseen
from tintype.evaluation.intervals import bootstrap_mean
from tintype.evaluation.likeness import ssim
from tintype.evaluation.reader import Judge, at_its_size, load_judge
from tintype.evaluation.teaching import drawn
from tintype.models import Autoencoder
from tintype.training.measures import bicubic, psnr
from tintype.training.perceptual import Perceptual

CLIP_SEEN, SEEN = 8_192, 4_096
SCENES = 128
SEEDS = (0, 1)
ARMS: dict[str, dict[str, float | int]] = {
    "L1 + L2": {},
    "+ perceptual": {"perceptual_weight": 0.5},
    "+ perceptual + discriminator": {"perceptual_weight": 0.5, "adversarial_weight": 0.1},
    "the paper's: L1, perceptual 1, KL 1e-6, discriminator 0.5": {
        "l2_weight": 0.0,
        "kl_weight": 1e-6,
        "perceptual_weight": 1.0,
        "adversarial_weight": 0.5,
    },
}


@torch.no_grad()
def judged(judge: Judge, a: Tensor, b: Tensor) -> Tensor:
    """LPIPS-like, in the layers of the judge's trunk: (n 3 H W) twice -> (n,)."""
    distances, x, y = [], at_its_size(a), at_its_size(b)
    for layer in judge.trunk:
        x, y = layer(x), layer(y)
        distances.append((F.normalize(x, dim=1) - F.normalize(y, dim=1)).square().sum(1).mean((1, 2)))
    return torch.stack(distances).mean(0)


def detail(pixels: Tensor) -> Tensor:
    """The mean size of differences of neighbours, (n 3 H W) -> (n,)."""
    return pixels.diff(dim=-1).abs().flatten(1).mean(1) + pixels.diff(dim=-2).abs().flatten(1).mean(1)


@torch.no_grad()
def measured(rebuilt: Tensor, pixels: Tensor, clip: Perceptual, judge: Judge) -> dict[str, Any]:
    """Each measure's mean and 95 % interval over the scenes."""
    values = {
        "psnr": psnr(rebuilt, pixels),
        "ssim": ssim(rebuilt, pixels),
        "distance in CLIP": clip(rebuilt, pixels),
        "distance in the judge": judged(judge, rebuilt, pixels),
        "detail": detail(rebuilt) / detail(pixels),
    }
    return {
        name: [round(number, 5) for number in (each.mean().item(), *bootstrap_mean(each.tolist()))]
        for name, each in values.items()
    }


@torch.no_grad()
def rebuilt_by(model: Autoencoder, pixels: Tensor) -> tuple[Tensor, float]:
    """Through it and back, and the standard deviation of its raw latents."""
    latents = model.eval().encode(pixels).mean
    return model.decode(latents).clamp(-1, 1), latents.std().item()


def main() -> None:
    asked = arguments("autoencoder-losses", __doc__)
    results, chain = Results(asked.output), ground(asked.folder)
    seconds_of(
        chain.clip_training(replace(chain.recipe.clip, pictures=int(CLIP_SEEN * asked.length), warmup=512, lr=1e-3))
    )
    clip, judge = Perceptual(chain.clip().image), load_judge()
    pixels = drawn(unseen(SCENES), chain.recipe.size)
    results.add(
        "bicubic", measured(bicubic(pixels, chain.recipe.autoencoder.autoencoder.factor, 4), pixels, clip, judge)
    )
    for seed in SEEDS:
        for name, dials in ARMS.items():
            key = f"{name}, seed {seed}"
            if key in results.rows:
                continue
            pictures = int(SEEN * asked.length)
            recipe = replace(
                chain.recipe.autoencoder,
                pictures=pictures,
                cooldown=pictures // 3,
                ema=0.99,
                seed=seed,
                adversarial_after=pictures // 4,
                save_every=NEVER,
                **dials,
            )
            afresh(chain.folder / "autoencoder")
            training = chain.autoencoder_training(recipe)
            seconds = seconds_of(training)
            training.save()
            pictures_back, spread = rebuilt_by(chain.autoencoder(), pixels)
            row = measured(pictures_back, pixels, clip, judge)
            results.add(key, row | {"latent std": round(spread, 3), "seconds": round(seconds, 1)})


if __name__ == "__main__":
    main()
