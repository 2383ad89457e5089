"""What an illustrated page costs: the run alone, then the run with its page, for the box or Stable Diffusion 1.5.

    python -m benchmarks.page [--model box|sd1.5] [--size 512] [--steps 50]

SD 1.5 is at full width with random weights. Prints seconds by the wall, their ratio, the page's bytes, and the peak of
this process's memory before and after.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from itertools import pairwise

import tintype
from benchmarks.recording import PROMPT, model
from tintype.illustrate import illustrate


def peak() -> str:
    """The most memory that this process has had."""
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("box", "sd1.5"), default="box")
    parser.add_argument("--size", type=int)
    parser.add_argument("--steps", type=int)
    arguments = parser.parse_args()
    sd = (tintype.load() if arguments.model == "box" else model()).speed()  # as the command line does
    settings = {"width": arguments.size, "height": arguments.size, "steps": arguments.steps}
    list(sd.text2img(PROMPT, seed=0, steps=1, width=64, height=64))

    begin = time.perf_counter()
    run = sd.text2img(PROMPT, seed=0, **settings)
    _ = run.images
    alone = time.perf_counter() - begin
    print(f"the run alone: {len(run)} steps, {alone:.1f} s, peak memory {peak()}", flush=True)

    stages: list[tuple[str, float]] = []

    def progress(stage: str) -> None:
        stages.append((stage, time.perf_counter()))
        print(f"  {stage}", file=sys.stderr, flush=True)

    begin = time.perf_counter()
    page = illustrate(sd, PROMPT, seed=0, progress=progress, **settings)
    size = len(page.html.encode())
    whole = time.perf_counter() - begin
    stages.append(("", time.perf_counter()))
    for (stage, at), (_, until) in pairwise(stages):
        print(f"  {stage}: {until - at:.1f} s")
    print(f"run and page: {whole:.1f} s, {whole / alone:.2f} times the run; {size:,} bytes; peak memory {peak()}")


if __name__ == "__main__":
    main()
