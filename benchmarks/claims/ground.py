"""What the claims share: a run's folder with drawn scenes of 32x32, unseen scenes to measure on, results as JSON."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tintype.diffusion import Denoiser, guided
from tintype.diffusion.solvers import euler
from tintype.models import AutoencoderConfig
from tintype.scenes import Scene, complete
from tintype.text.conditioner import Conditioner, Tower
from tintype.training import Chain
from tintype.training.card import UNSEEN_SEED
from tintype.training.loop import Training
from tintype.training.pictures import scene_of
from tintype.training.recipes import TINY

SIZE, PICTURES = 32, 4_096
NEVER = 10**12  # pictures between states

RECIPE = replace(
    TINY,
    size=SIZE,
    pictures=PICTURES,
    clip=replace(TINY.clip, image=replace(TINY.clip.image, image_size=SIZE, patch_size=8)),
    autoencoder=replace(
        TINY.autoencoder,
        crop=SIZE,
        batch_size=16,
        ema=0.98,
        autoencoder=AutoencoderConfig(channels=(16, 32, 32), layers_per_block=1, norm_groups=8),
    ),
)
"""Small enough for one core: latents are 8x8, a twelfth of the pixels' numbers."""


def arguments(name: str, doc: str | None) -> argparse.Namespace:
    """Where to work, where to write, what to multiply the length of every training by."""
    dated = f"{datetime.now(UTC).date()}-claim-{name}.json"
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/claims") / name)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results") / dated)
    parser.add_argument("--plot", type=Path, default=Path("docs/pictures") / f"claim-{name}.png")
    parser.add_argument("--length", type=float, default=1.0, help="of every training, as a part of the usual")
    parser.add_argument("--seeds", type=int, default=2, help="how many trainings of each kind")
    found = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return found


def ground(folder: Path) -> Chain:
    """A run of the claim's own, on pictures and a tokenizer that all share; made where they are not there yet."""
    shared = Chain(RECIPE, folder.parent / "ground")
    list(shared.draw_pictures())
    shared.tokenizer()
    folder.mkdir(parents=True, exist_ok=True)
    share(shared.folder, folder, "pictures", "tokenizer")
    return Chain(RECIPE, folder)


def share(run: Path, other: Path, *stages: str) -> None:
    """Let another run's folder have these stages of a run, without a copy."""
    for stage in stages:
        if not (other / stage).is_symlink():
            (other / stage).symlink_to(run.resolve() / stage)


def unseen(count: int, series: int = 0) -> list[Scene]:
    """Scenes that nothing was trained on, no two with the same caption."""
    found: dict[str, Scene] = {}
    for index in range(3 * count):
        scene = scene_of(UNSEEN_SEED + 1 + series, index, RECIPE.vocabulary)
        found.setdefault(complete(scene), scene)
    return list(found.values())[:count]


def seconds_of(training: Training) -> float:
    """Train to the end; processor time."""
    started = time.process_time()
    for _ in training:
        pass
    return time.process_time() - started


@torch.no_grad()
def pictures_by(chain: Chain, prompts: Sequence[str], steps: int, scale: float) -> Tensor:
    """What a run's parts draw, as they are trained so far, by DDIM from the same noise each time: (b 3 H W).

    Without `Run`, which draws no pictures as small as these.
    """
    recipe, unet = chain.denoiser_recipe, chain.unet().eval()
    schedule = chain.schedule(recipe)
    conditioner = Conditioner(Tower(chain.tokenizer(), chain.text_encoder())) if recipe.text else Conditioner()
    words = conditioner.pair(prompts)
    channels, factor = (3, 1) if recipe.pixels else (4, chain.recipe.autoencoder.autoencoder.factor)
    side = chain.recipe.size // factor
    noise = torch.randn(len(prompts), channels, side, side, generator=torch.Generator().manual_seed(0))
    plan = schedule.plan("ddim", steps=steps)
    denoiser = Denoiser(unet, schedule).for_plan(plan)
    x = plan.start_scale * noise
    for step in euler(guided(denoiser, unet.prepare(words.cond), unet.prepare(words.uncond), scale), x, plan):
        x = step.x_next
    return (x if recipe.pixels else chain.autoencoder().eval().decode(x / chain.scaling_factor())).clamp(-1, 1)


class Results:
    """Measured rows, by a key each, kept in a file as they come: what is there is not measured again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}

    def add(self, key: str, row: dict[str, Any]) -> None:
        """Keep a row."""
        self.rows[key] = row
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.rows, indent=1) + "\n")
        print(key, json.dumps(row), flush=True)


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """As Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    print("\n" + "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines), flush=True)


def afresh(folder: Path) -> Path:
    """An empty place."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder
