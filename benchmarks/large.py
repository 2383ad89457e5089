"""Whether SDXL at 1024x1024 runs in 16 GB: full width, random weights in fp16, one picture with guidance.

    python -m benchmarks.large [--size 1024] [--steps 1] [--no-lean]

Makes the model once (6.9 GB in build/, as a fp16 download would be), then draws in a process of its own and prints
seconds by part and the most anonymous memory, which is what a machine must have: files that are mapped can be read
again. Linux only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch

from benchmarks.peers.rows import PROMPT, anonymous_bytes

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "bench-sdxl-float16"


class Peak:
    """The most anonymous memory, in bytes, since the last ``taken``, looked at twenty times a second."""

    def __init__(self) -> None:
        self._most = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self._most = max(self._most, anonymous_bytes())
            time.sleep(0.05)

    def taken(self) -> int:
        most, self._most = max(self._most, anonymous_bytes()), 0
        return most


def make() -> None:
    """SDXL base's three networks and their autoencoder, random; in fp16 from the beginning, to fit a small machine."""
    from tintype.checkpoints.families import SDXL
    from tintype.checkpoints.folder import save_folder
    from tintype.models import Autoencoder, TextEncoder, UNet
    from tintype.pipeline.stable_diffusion import StableDiffusion
    from tintype.text.conditioner import Conditioner
    from tintype.text.tokenizer import Tokenizer

    torch.manual_seed(0)
    torch.set_default_dtype(torch.float16)
    towers = [each(Tokenizer.clip(), TextEncoder(each.encoder)) for each in SDXL.towers]
    conditioner = Conditioner(*towers, zeros_for_none=SDXL.zeros_for_none)
    sd = StableDiffusion(UNet(SDXL.unet), Autoencoder(SDXL.autoencoder), conditioner, SDXL.schedule)
    save_folder(sd, FOLDER, dtype=torch.float16)


def draw(size: int, steps: int, lean: bool | None) -> None:
    import tintype

    peak, start = Peak(), time.perf_counter()

    def told(what: str) -> None:
        nonlocal start
        print(f"{what}: {time.perf_counter() - start:.1f} s, at most {peak.taken() / 2**30:.1f} GiB", flush=True)
        start = time.perf_counter()

    sd = tintype.load(FOLDER, lean=lean).speed()
    told(f"load ({sd.dtype})")
    run = sd.text2img(PROMPT, seed=0, steps=steps, width=size, height=size)
    for step in run:
        told(f"step {step.index + 1}")
    _ = run.images
    told("decode")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--lean", action=argparse.BooleanOptionalAction, help="None: as tintype.load chooses")
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--draw", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:
        make()
    elif given.draw:
        draw(given.size, given.steps, given.lean)
    else:
        again = [sys.executable, "-m", "benchmarks.large", *sys.argv[1:]]
        if not FOLDER.is_dir():
            print("making SDXL with random weights", flush=True)
            subprocess.run([*again, "--make"], check=True, cwd=ROOT)
        subprocess.run([*again, "--draw"], check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
