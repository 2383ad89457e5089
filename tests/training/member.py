"""What each process of a group does in these tests: continue some trainings, or begin them.

    torchrun --nproc-per-node 2 member.py FOLDER TASK,TASK... [key=value ...]

``FOLDER/TASK`` is a run of the smallest chain with what the task needs, and where the training goes.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from tintype.training import LORAS, Chain, LoraLesson, Training, adjusted, open_source
from tintype.training.recipes import TINY

CHAIN = replace(TINY, pictures=48)
SHORT = {"pictures": "160", "batch_size": "8", "precision": "fp32", "warmup": "16", "cooldown": "0"}  # 20 updates
CONTEST = {"perceptual_weight": "0.5", "adversarial_weight": "0.5", "adversarial_after": "40"}

OWN_FOLDER = {
    "contrastive": "clip",
    "autoencoder": "autoencoder",
    "contest": "autoencoder",
    "denoiser": "denoiser",
    "lora": "lora",
}
"""By task, where its training goes."""


@contextmanager
def begun(run: Path, task: str, dials: dict[str, str]):
    """The training of a task, ready to be iterated."""
    chain, dials = Chain(CHAIN, run), SHORT | dials
    if task == "contrastive":
        yield chain.clip_training(adjusted(CHAIN.clip, dials))
    elif task == "autoencoder":
        yield chain.autoencoder_training(adjusted(CHAIN.autoencoder, dials))
    elif task == "contest":
        yield chain.autoencoder_training(adjusted(CHAIN.autoencoder, CONTEST | dials))
    elif task == "denoiser":
        yield chain.denoiser_training(adjusted(CHAIN.denoiser, dials))
    else:
        recipe = adjusted(LORAS["tiny"], {"size": "64", "ema": "0.9"} | dials)
        with LoraLesson(chain.model(), open_source(str(run / "photos")), recipe, run / "lora") as lesson:
            yield lesson.training()


def learn(run: Path, task: str, stop_at: int | None = None, **dials: object) -> Training:
    """Train, to the end or to ``stop_at`` pictures."""
    with begun(run, task, {name: str(value) for name, value in dials.items()}) as training:
        for progress in training:
            if progress.seen == stop_at:
                training.stop()
    return training


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, tasks, *rest = sys.argv[1:]
    given = dict(text.split("=") for text in rest)
    stop = given.pop("stop_at", None)
    for name in tasks.split(","):
        learn(Path(folder) / name, name, int(stop) if stop else None, **given)
