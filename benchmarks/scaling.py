"""How time and memory grow with steps, batch, size and threads: ``python benchmarks/scaling.py``.

    python benchmarks/scaling.py [--model FOLDER] [--full] [--runs 3]

Without options the model in the box, whose pictures of 256 x 256 take half a second: everything is measured in a few
minutes. ``--full``: networks of Stable Diffusion 1.5's size with random weights, one call of the UNet instead of whole
pictures. Prints a table and, where matplotlib is, draws the curves into ``results``. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
VALUES = {
    "steps": [1, 2, 5, 10, 20, 50],
    "batch": [1, 2, 4, 8],
    "size": [64, 128, 256, 384, 512],
    "threads": [1, 2, 4, 8, 16, 32],
}
FULL = {"batch": [1, 2, 4], "size": [256, 512, 768], "threads": VALUES["threads"]}
SENTENCES = {  # why the curves are as they are; what was measured of it is printed beside
    "steps": "Each step is the same work, so time is a line; its height at 0 is the text encoder and the decoder. "
    "Memory does not grow: a step's tensors are given back when the next one is done.",
    "batch": "Pictures of a batch share what is done once per call, which a small model feels; when the processor is "
    "full, twice as many take twice as long. The decoder takes them one by one, so memory grows by the UNet's "
    "maps alone.",
    "size": "Convolutions and linear layers grow with the number of pixels, by side with its square; self-attention "
    "with the fourth power, which large maps feel. Small maps are bound by the calls themselves. Decoding bounds "
    "memory by tiles above 768.",
    "threads": "Matrix products share out up to the physical cores, normalisations are bound by memory before that; "
    "with more threads than cores they wait for each other.",
}


def measure(model: str | None, full: bool, runs: int, value: dict[str, int]) -> dict[str, object]:
    """In this process: seconds of each run, and the most memory."""
    import torch

    import tintype

    if "threads" in value:
        torch.set_num_threads(value["threads"])
    batch, steps = value.get("batch", 1), value.get("steps", 10)
    if full:
        from tintype.models import UNet
        from tintype.models.presets import SD1_UNET
        from tintype.speed import set_profile
        from tintype.types import Conditioning

        torch.manual_seed(0)
        unet, side = UNet(SD1_UNET), value.get("size", 512) // 8
        set_profile([unet], "fast")
        cond, x, t = Conditioning(torch.randn(batch, 77, 768)), torch.randn(batch, 4, side, side), torch.ones(batch)

        @torch.no_grad()
        def call() -> None:
            unet(x, t, cond)
    else:
        sd = tintype.load(model).speed()
        size = {"width": value["size"], "height": value["size"]} if "size" in value else {}

        def call() -> None:
            sd.text2img("a boat", seed=0, steps=steps, batch_size=batch, **size).images  # noqa: B018

    call()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"seconds": seconds, "peak": peak}


def law(name: str, points: list[tuple[float, float]]) -> str:
    """How the seconds y of ``points`` (x, y) grow, in words."""
    if name == "steps":
        x, y = zip(*points, strict=True)
        slope, start = statistics.linear_regression(x, y)
        return f"A line through them: {start:.3f} s and {slope:.4f} s a step."
    if name == "batch":
        return "A picture's share: " + ", ".join(f"{y / x:.3f} s of {x}" for x, y in points) + "."
    if name == "threads":
        return "Times as fast as one: " + ", ".join(f"{points[0][1] / y:.2f} with {x}" for x, y in points[1:]) + "."
    pairs = pairwise(points)
    powers = [f"{math.log(d / b) / math.log(c / a):.2f} from {a} to {c}" for (a, b), (c, d) in pairs]
    return "The exponent by side: " + ", ".join(powers) + "."


def plot(found: dict[str, list[dict]], title: str, place: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(found), figsize=(3.2 * len(found), 5.2), squeeze=False, sharex="col")
    for column, (name, rows) in enumerate(found.items()):
        x = [row["value"] for row in rows]
        middle = [statistics.median(row["seconds"]) for row in rows]
        axes[0][column].fill_between(x, [min(r["seconds"]) for r in rows], [max(r["seconds"]) for r in rows], alpha=0.2)
        axes[0][column].plot(x, middle, marker="o")
        axes[1][column].plot(x, [row["peak"] / 1e9 for row in rows], marker="o", color="tab:orange")
        axes[1][column].set_xlabel(name)
        for axis in (axes[0][column], axes[1][column]):
            axis.set_ylim(0, 1.08 * axis.get_ylim()[1])
            axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("seconds")
    axes[1][0].set_ylabel("peak memory, GB")
    figure.suptitle(title, fontsize=9)
    figure.tight_layout()
    figure.savefig(place, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=VALUES, help="one of the four")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)  # a value, measured in this process
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(measure(arguments.model, arguments.full, arguments.runs, arguments.one)))
        return
    from tintype.cli.bench import processor
    from tintype.cli.threads import physical_cores

    cores = physical_cores() or 1
    values = FULL if arguments.full else VALUES
    values = {name: each for name, each in values.items() if arguments.only in (None, name)}
    if "threads" in values:
        values["threads"] = [count for count in values["threads"] if count <= 2 * cores]
    date = time.strftime("%Y-%m-%d")
    what = "UNet of SD 1.5, random weights" if arguments.full else arguments.model or "the model in the box"
    lines = [f"# Scaling, {date}", "", f"{what}; {processor()}, {cores} cores; medians of {arguments.runs}.", ""]
    found: dict[str, list[dict]] = {}
    for name, each in values.items():
        found[name] = []
        lines += ["", SENTENCES[name], "", f"| {name} | s | least to most | peak GB |", "| ---: | ---: | ---: | ---: |"]
        for value in each:
            command = [sys.executable, __file__, "--one", json.dumps({name: value}), "--runs", str(arguments.runs)]
            command += ["--full"] if arguments.full else []
            command += ["--model", arguments.model] if arguments.model else []
            row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            found[name].append({"value": value, **row})
            s = row["seconds"]
            lines.append(
                f"| {value} | {statistics.median(s):.3f} | {min(s):.3f} to {max(s):.3f} | {row['peak'] / 1e9:.2f} |"
            )
            print(name, lines[-1], flush=True)
        if len(each) > 1:
            points = [(row["value"], statistics.median(row["seconds"])) for row in found[name]]
            lines.append(f"\n{law(name, points)}")
    RESULTS.mkdir(exist_ok=True)
    place = RESULTS / f"{date}-scaling{'-full' if arguments.full else ''}.md"
    text = "\n".join(lines) + "\n"
    print(text)
    place.write_text(text)
    plot(found, f"{what}; {processor()}", place.with_suffix(".png"))
    print(place)


if __name__ == "__main__":
    main()
