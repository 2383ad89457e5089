"""What recording costs: steps of Stable Diffusion 1.5 at full width, random weights, alone and recorded in turns.

    python benchmarks/recording.py [--size 512] [--steps 2] [--rounds 2]

Prints seconds a step, and ratios of processor time, which other work on the machine hardly changes. On a GPU the wall
clock is the one to compare. What a recording of 50 steps holds is a test: tests/unit/illustrate/test_memory.py.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from tintype.diffusion import Schedule
from tintype.illustrate import record
from tintype.models import Autoencoder, TextEncoder, UNet
from tintype.models.presets import SD1_AUTOENCODER, SD1_TEXT, SD1_UNET
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.text.conditioner import Conditioner, Tower
from tintype.text.tokenizer import Tokenizer

PROMPT = "paradise cosmic beach with a pirate ship and two palm trees under a rainbow"
KINDS = {
    "alone": None,
    "heat maps": {"heat_maps": True, "features": False, "noise": False},
    "everything": {"heat_maps": True, "features": True, "noise": True},
}


def model() -> StableDiffusion:
    torch.manual_seed(0)
    conditioner = Conditioner(Tower(Tokenizer.clip(), TextEncoder(SD1_TEXT)))
    return StableDiffusion(UNet(SD1_UNET), Autoencoder(SD1_AUTOENCODER), conditioner, Schedule.scaled_linear())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    sd = model().to(arguments.device)
    size = {"width": arguments.size, "height": arguments.size}
    seconds: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}  # by the processor, by the wall
    list(sd.text2img(PROMPT, seed=0, steps=1, width=64, height=64))
    for _ in range(arguments.rounds):
        for kind, options in KINDS.items():
            run = sd.text2img(PROMPT, seed=0, steps=arguments.steps, **size)
            recorder = None if options is None else record(run, **options)
            processor, wall = time.process_time(), time.perf_counter()
            latents = run.latents
            float(latents.sum())  # waits for the device
            processor, wall = time.process_time() - processor, time.perf_counter() - wall
            seconds[kind].append((processor / arguments.steps, wall / arguments.steps))
            own = "" if recorder is None else f", recording {100 * recorder.seconds / (wall - recorder.seconds):.1f} %"
            print(f"{kind}: {processor / arguments.steps:.2f} s a step, {wall / arguments.steps:.2f} by the wall{own}")
    for clock, name in enumerate(("processor", "wall")):
        alone = statistics.median(pair[clock] for pair in seconds["alone"])
        for kind in KINDS:
            median = statistics.median(pair[clock] for pair in seconds[kind])
            print(f"{name}, {kind}: median {median:.2f} s a step, {100 * (median / alone - 1):+.1f} %")


if __name__ == "__main__":
    main()
