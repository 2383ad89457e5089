"""The model card: what was trained, on what, for how long, and what it measures on scenes it never saw."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tintype.errors import MissingExtraError
from tintype.models import CLIP, normalize_pixels
from tintype.scenes import Scene, complete, draw
from tintype.training.chain import Chain
from tintype.training.draws import Draw
from tintype.training.latents import encode_pictures
from tintype.training.measures import bicubic, found_among, psnr
from tintype.training.pictures import scene_of, to_signed
from tintype.training.shards import Shards
from tintype.training.tasks import DiffusionTask
from tintype.training.words import token_ids

UNSEEN_SEED = 1_000_003
"""Scenes for measuring come from a series of their own, so that none was trained on."""

STAGES = {"clip": "retrieval_at_1", "autoencoder": "psnr", "denoiser": "loss"}
"""Each with what its curve shows."""

SMOOTHED = 50  # points of a curve averaged into one


def measure(chain: Chain, num_scenes: int = 256) -> dict[str, Any]:
    """Each part on ``num_scenes`` unseen scenes, beside a baseline that knows nothing or little."""
    scenes = [scene_of(UNSEEN_SEED, index, chain.recipe.vocabulary) for index in range(num_scenes)]
    pixels = torch.from_numpy(np.stack([draw(scene, chain.recipe.size) for scene in scenes]))
    pixels = pixels.permute(0, 3, 1, 2).contiguous()  # (n H W 3) -> (n 3 H W)
    with torch.no_grad():
        return {
            "scenes": num_scenes,
            "autoencoder_psnr": _autoencoder_psnr(chain, pixels),
            "bicubic_psnr": _bicubic_psnr(chain, pixels),
            **_retrieval(chain, pixels, scenes),
            **_denoiser_losses(chain, pixels, scenes),
        }


def _autoencoder_psnr(chain: Chain, pixels: Tensor) -> float:
    model = chain.autoencoder().eval()
    rebuilt = torch.cat([model.decode(model.encode(to_signed(part)).mean) for part in pixels.split(16)])
    return psnr(rebuilt.clamp(-1, 1), to_signed(pixels)).mean().item()


def _bicubic_psnr(chain: Chain, pixels: Tensor) -> float:
    config = chain.recipe.autoencoder.autoencoder
    x = to_signed(pixels)
    return psnr(bicubic(x, config.factor, config.latent_channels), x).mean().item()


def _retrieval(chain: Chain, pixels: Tensor, scenes: list[Scene]) -> dict[str, float]:
    """How often a picture finds its own full caption among all of them; nothing where CLIP was taught elsewhere."""
    if not chain.has_clip:
        return {}
    clip: CLIP = chain.clip().eval()
    captions = [complete(scene) for scene in scenes]
    ids = token_ids(chain.tokenizer(), captions)
    image, text = zip(
        *(clip(normalize_pixels(to_signed(p)), i) for p, i in zip(pixels.split(32), ids.split(32), strict=True)),
        strict=True,
    )
    share = sum(found_among(torch.cat(image) @ torch.cat(text).T, captions)) / len(scenes)
    return {"clip_retrieval_at_1": share, "clip_chance": 1 / len(scenes)}


def _denoiser_losses(chain: Chain, pixels: Tensor, scenes: list[Scene]) -> dict[str, float]:
    """The held-out loss with the scenes' own captions, with those of other scenes, and without any."""
    latents = encode_pictures(pixels, chain.autoencoder().eval())
    own = Shards([{"latents": latents}], [scene.to_dict() for scene in scenes])
    others = replace(own, records=own.records[1:] + own.records[:1])
    losses = {}
    for name, data, dropout in (("own", own, 0.0), ("other", others, 0.0), ("no", own, 1.0)):
        recipe = replace(chain.recipe.denoiser, caption_dropout=dropout)
        task: DiffusionTask = chain.diffusion_task(recipe, chain.unet().eval(), data)
        visits = [Draw(UNSEEN_SEED, 0, index) for index in range(len(scenes))]
        parts = [task.loss(task.batch(visits[i : i + 32]))[0] for i in range(0, len(visits), 32)]
        losses[f"denoiser_loss_with_{name}_caption"] = torch.stack(parts).mean().item()
    return losses


def write_card(chain: Chain, folder: Path, measured: dict[str, Any]) -> None:
    """README.md, recipe.json, measured.json and curves.png into a model's folder."""
    seen = _write_recipe(chain, folder)
    (folder / "measured.json").write_text(json.dumps(measured, indent=1) + "\n")
    (folder / "README.md").write_text(_card(chain, seen, measured))


def write_short_card(chain: Chain, folder: Path) -> None:
    """README.md, recipe.json and curves.png into the folder of a model that `measure` has no measures for.

    That is one that was trained on anybody's pictures, on pixels, or without text.
    """
    seen, denoiser = _write_recipe(chain, folder), chain.denoiser_recipe
    names = {"clip": "CLIP {:,}", "autoencoder": "autoencoder {:,} crops", "denoiser": "UNet {:,}"}
    lines = [
        f"# {chain.folder.name}",
        "",
        f"Pictures of {chain.recipe.size}x{chain.recipe.size} {'from words' if denoiser.text else 'without text'},"
        f" drawn in {'pixels' if denoiser.pixels else 'latents'}, trained from random weights by",
        f"`tintype train` on {chain.num_pictures} pictures with captions. Pictures seen, repeats counted:",
        f"{', '.join(names[stage].format(count) for stage, count in seen.items())}.",
        "Nothing here is measured on pictures that it never saw.",
        "",
        "![Training curves](curves.png)",
    ]
    (folder / "README.md").write_text("\n".join(lines) + "\n")


def _write_recipe(chain: Chain, folder: Path) -> dict[str, int]:
    """recipe.json and curves.png; how many pictures each stage saw that the model is made of."""
    denoiser = chain.denoiser_recipe
    needed = {"clip": denoiser.text and chain.has_clip, "autoencoder": not denoiser.pixels, "denoiser": True}
    seen = {stage: _last(chain.folder / stage)["seen"] for stage in STAGES if needed[stage]}
    recipe = asdict(replace(chain.recipe, denoiser=denoiser)) | {"seen": seen}
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=1) + "\n")
    plot_curves(chain, folder / "curves.png", seen)
    return seen


def _card(chain: Chain, seen: dict[str, int], measured: dict[str, Any]) -> str:
    recipe, words = chain.recipe, chain.recipe.vocabulary
    sizes = {
        "text encoder": count_parameters(chain.text_encoder()),
        "UNet": count_parameters(chain.unet()),
        "autoencoder": count_parameters(chain.autoencoder()),
    }
    lines = [
        "# A small Stable Diffusion",
        "",
        f"Pictures of {recipe.size}x{recipe.size} from words, of the same anatomy as Stable Diffusion 1: a CLIP text",
        "encoder trained contrastively, a KL autoencoder (factor 8, 4 channels), a UNet with cross-attention that",
        f"predicts {recipe.denoiser.prediction}. Trained from random weights by `tintype train`, on scenes drawn by",
        "`tintype.scenes` and on nothing else. diffusers' `StableDiffusionPipeline` loads this folder too.",
        "",
        "| part | parameters | pictures seen |",
        "| --- | ---: | ---: |",
        _of_the_text_encoder(sizes["text encoder"], seen.get("clip")),
        f"| autoencoder | {sizes['autoencoder']:,} | {seen['autoencoder']:,} crops of {recipe.autoencoder.crop} |",
        f"| UNet | {sizes['UNet']:,} | {seen['denoiser']:,} |",
        "",
        f"## Measured on {measured['scenes']} scenes that no part was trained on",
        "",
        "| | this model | beside |",
        "| --- | ---: | ---: |",
        f"| autoencoder, PSNR | {measured['autoencoder_psnr']:.1f} dB | {measured['bicubic_psnr']:.1f} dB"
        " (bicubic, as many numbers) |",
        *_retrieved(measured),
        f"| UNet, loss with the scene's caption | {measured['denoiser_loss_with_own_caption']:.4f} |"
        f" {measured['denoiser_loss_with_other_caption']:.4f} (another's),"
        f" {measured['denoiser_loss_with_no_caption']:.4f} (none) |",
        "",
        "![Training curves](curves.png)",
        "",
        "## What it can be asked for",
        "",
        *(f"- {kind}: {', '.join(map(str, names))}" for kind, names in asdict(words).items()),
        "",
        "It knows these, and synonyms of them (`vocabulary.json`); other words draw something all the same. It has",
        "seen no photograph, no person and no text. Some pairs of subject and setting, and of colour and subject,",
        "were held out of training on purpose.",
        "",
        "The full recipe is in `recipe.json`. Licence: Apache-2.0, weights included.",
    ]
    return "\n".join(lines) + "\n"


def _of_the_text_encoder(size: int, seen: int | None) -> str:
    if seen is None:
        return f"| text encoder (of the model that this began as) | {size:,} | |"
    return f"| text encoder (with an image tower that is not shipped) | {size:,} | {seen:,} |"


def _retrieved(measured: dict[str, Any]) -> Iterator[str]:
    if "clip_retrieval_at_1" in measured:
        share, chance = measured["clip_retrieval_at_1"], measured["clip_chance"]
        yield f"| CLIP, picture finds its caption | {share:.0%} | {chance:.1%} (chance) |"


def count_parameters(model: nn.Module) -> int:
    """How many numbers a network has learnt."""
    return sum(p.numel() for p in model.parameters())


def plot_curves(chain: Chain, path: Path, stages: Iterable[str] = STAGES) -> None:
    """The loss of every stage against the pictures seen, as one PNG."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError('Curves are drawn with matplotlib: pip install "tintype[training]".') from error
    stages = list(stages)
    figure = Figure(figsize=(10 * len(stages) / len(STAGES), 3), layout="constrained")
    for axes, stage in zip(figure.subplots(1, len(stages), squeeze=False)[0], stages, strict=True):
        name = STAGES[stage]
        seen, values = zip(*_curve(chain.folder / stage, name), strict=True)
        axes.plot([number / 1000 for number in seen], values, color="#3465a4", linewidth=1.5)
        axes.set_title(f"{stage}: {name.replace('_', ' ')}")
        axes.set_xlabel("pictures seen (thousands)")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=100)


def _curve(folder: Path, name: str) -> Iterator[tuple[float, float]]:
    """Means over runs of steps: (pictures seen, value)."""
    points = [(line["seen"], line["metrics"].get(name, line["loss"])) for line in _lines(folder)]
    size = max(1, min(SMOOTHED, len(points) // 20))
    for start in range(0, len(points) - size + 1, size):
        seen, values = zip(*points[start : start + size], strict=True)
        yield sum(seen) / size, sum(values) / size


def _lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def _last(folder: Path) -> dict[str, Any]:
    return _lines(folder)[-1]
