"""Pictures per second of the box's recipe against a plain loop over diffusers' UNet of the same shape.

    python -m benchmarks.training [--steps 12] [--batch 32]

Both learn to predict noise in random latents of 32 x 32 with random texts, one step of each in turn: the same network,
AdamW, bf16 autocast where the processor has bf16. The plain loop is the usual one: channels-last, diffusers' own
attention and add_noise, an optimizer as torch makes it. Ours is ``tintype.training.Training`` as ``tintype train`` runs
it, with its average of weights, its clipping and its log, in a process that keeps what it frees. Each has a process of
its own. Needs diffusers (``make dev``). Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

from tintype.checkpoints.configs import write_unet
from tintype.checkpoints.load import has_bf16
from tintype.diffusion import Schedule
from tintype.models import UNet
from tintype.speed.memory import keep_freed_memory
from tintype.training.draws import Draw
from tintype.training.loop import Training
from tintype.training.recipes import LARGE
from tintype.training.stored import Seen
from tintype.training.tasks.diffusion import DiffusionTask
from tintype.types import Conditioning

RESULTS = Path(__file__).parent / "results"
RECIPE = LARGE.denoiser
SIDE = LARGE.size // 2 ** (len(LARGE.autoencoder.autoencoder.channels) - 1)


class RandomLatents:
    """Latents and texts of no picture, always the same few."""

    shapes = None

    def __init__(self, count: int = 64) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x0 = torch.randn(count, 4, SIDE, SIDE, generator=generator)
        self.text = torch.randn(count, 77, RECIPE.unet.context_dim or 1, generator=generator)

    def __len__(self) -> int:
        return len(self.x0)

    def visit(self, draw: Draw) -> Seen:
        i = draw.index % len(self)
        size = 8 * SIDE
        return Seen(self.x0[i], "", (size, size, 0, 0, size, size), Conditioning(self.text[i]))


class NoWords:
    """Texts are stored; the empty one is zeros."""

    def text(self, captions) -> Conditioning:
        return Conditioning(torch.zeros(len(captions), 77, RECIPE.unet.context_dim or 1))

    def with_sizes(self, text: Conditioning, sizes) -> Conditioning:
        return text

    def __call__(self, captions, sizes) -> Conditioning:
        return self.text(captions)


def ours(batch: int) -> Iterator[None]:
    """Each next() is a step."""
    keep_freed_memory()
    torch.manual_seed(0)
    schedule = Schedule.scaled_linear(prediction=RECIPE.prediction, spacing="trailing", sampler="ddim")
    recipe = replace(RECIPE, batch_size=batch, pictures=10**9, save_every=10**9)
    with tempfile.TemporaryDirectory() as folder:
        task = DiffusionTask(UNet(recipe.unet), RandomLatents(), NoWords(), schedule, recipe)
        for _ in Training(task, recipe, Path(folder)):
            yield


def plain(batch: int) -> Iterator[None]:
    """Each next() is a step."""
    from diffusers import DDPMScheduler, UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_config(write_unet(RECIPE.unet)).to(memory_format=torch.channels_last)
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    optimizer, examples = torch.optim.AdamW(unet.parameters(), lr=RECIPE.lr), RandomLatents()
    native = has_bf16(torch.device("cpu"))
    while True:
        chosen = torch.randint(len(examples), (batch,))
        x0, context, t = examples.x0[chosen], examples.text[chosen], torch.randint(1000, (batch,))
        noise = torch.randn_like(x0)
        noisy = scheduler.add_noise(x0, noise, t).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, native):
            out = unet(noisy, t, encoder_hidden_states=context).sample
        loss = F.mse_loss(out.float(), scheduler.get_velocity(x0, noise, t))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield


LOOPS = {"Tintype": ours, "diffusers' UNet, plain loop": plain}


def serve(name: str, batch: int) -> None:
    """A step, and its seconds as a line, for each line that is read."""
    loop = LOOPS[name](batch)
    for _ in sys.stdin:
        start = time.perf_counter()
        next(loop)
        print(time.perf_counter() - start, flush=True)


def begun(name: str, batch: int) -> Callable[[], float]:
    """A process that takes a step at each call; the seconds that it took."""
    command = [sys.executable, "-m", "benchmarks.training", "--batch", str(batch), "--serve", name]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def step() -> float:
        assert process.stdin is not None and process.stdout is not None
        print("step", file=process.stdin, flush=True)
        return float(process.stdout.readline())

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12, help="of each, after two that do not count")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--serve", choices=LOOPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments.serve, arguments.batch)
    loops = {name: begun(name, arguments.batch) for name in LOOPS}
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for step in loops.values():
        step(), step()
    for _ in range(arguments.steps):  # in turn, since a machine's pace changes
        for name, step in loops.items():
            rates[name].append(arguments.batch / step())
        print("  ".join(f"{name}: {each[-1]:.1f}" for name, each in rates.items()) + " pictures/s", flush=True)
    from tintype.cli.bench import processor

    ratios = [ours / theirs for ours, theirs in zip(*rates.values(), strict=True)]
    lines = [
        f"Training the box's noise predictor, batch {arguments.batch}, {time.strftime('%Y-%m-%d')}: {processor()}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, bf16 {has_bf16(torch.device('cpu'))}",
        "",
        "| | pictures/s | least to most |",
        "| --- | ---: | ---: |",
        *(f"| {n} | {statistics.median(r):.1f} | {min(r):.1f} to {max(r):.1f} |" for n, r in rates.items()),
        "",
        f"{statistics.median(ratios):.2f} times as many, step by step ({min(ratios):.2f} to {max(ratios):.2f}).",
    ]
    print("\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    place = RESULTS / f"{time.strftime('%Y-%m-%d')}-training-{torch.backends.cpu.get_cpu_capability().lower()}.md"
    place.write_text("\n".join(lines) + "\n")
    print(place)
    return None


if __name__ == "__main__":
    main()
