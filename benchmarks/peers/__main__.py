"""Tintype beside the programs that a user could install instead: ``make bench``, or ``python -m benchmarks.peers``.

    --rows tintype,diffusers    which; all: --rows all
    --rounds 2                  in each round every row has its turn, in a process of its own
    --steps 20                  measure whole pictures of so many steps with guidance; 0: reckon them from the parts
    --size 512                  another size, to try the script
    --no-whole                  leave out whole processes from the shell

Stable Diffusion 1.5 at full size, 512 x 512, random weights, made once in build/ (as fp32 4.3 GB; bf16 where the
processor has it). The peers come from PyPI into an environment of their own, build/peers. Without options it takes what
fits into a quarter of an hour on two cores without bf16. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.peers.rows import PROMPT

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
ROWS_SCRIPT = Path(__file__).with_name("rows.py")
RESULTS = ROOT / "benchmarks" / "results"

WITHOUT_BF16 = ["tintype", "diffusers", "openvino"]
WITH_BF16 = [
    "tintype",
    "diffusers",
    "diffusers bf16",
    "diffusers bf16 channels-last",
    "diffusers bf16 compiled",
    "openvino",
]
ALL = [*WITH_BF16, "tintype plain", "diffusers channels-last"]


def environment() -> Path:
    """The interpreter of the peers' environment, which is made the first time."""
    place, wanted = BUILD / "peers", Path(__file__).with_name("requirements.txt")
    python, stamp = place / "bin" / "python", place / "made-from"
    if not stamp.is_file() or stamp.read_text() != wanted.read_text():
        print(f"making {place.relative_to(ROOT)}: the peers from PyPI", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        held = ["-c", ROOT / "constraints.txt"]
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", wanted, *held], check=True)
        stamp.write_text(wanted.read_text())
    return python


def make_model(dtype: str) -> Path:
    """A diffusers folder of Stable Diffusion 1.5's size with random weights."""
    folder = BUILD / f"bench-{dtype}"
    if not folder.is_dir():
        print(f"making {folder.relative_to(ROOT)}: random weights", flush=True)
        code = (
            "import sys, torch\n"
            "from benchmarks.recording import model\n"
            "from tintype.checkpoints.folder import save_folder\n"
            "save_folder(model(), sys.argv[1], dtype=getattr(torch, sys.argv[2]))\n"
        )
        BUILD.mkdir(exist_ok=True)
        subprocess.run([sys.executable, "-c", code, folder, dtype], check=True, cwd=ROOT)
    return folder


def interpreter(row: str, peers: Path) -> str:
    return sys.executable if row.startswith("tintype") else str(peers)


def run_row(row: str, folder: Path, peers: Path, steps: int, size: int) -> dict | None:
    """What one process measured; None, with the reason printed, where it failed."""
    command = [interpreter(row, peers), ROWS_SCRIPT, row, folder, "--steps", str(steps), "--size", str(size)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=_environment())
    if done.returncode:
        print(f"{row}: left out, it failed: {done.stderr.strip()[-400:]}", flush=True)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def run_whole(row: str, folder: Path, peers: Path, steps: int, size: int) -> float:
    """Seconds from the shell to a picture of ``steps`` with guidance, or where 0, of 4 steps without."""
    command: list[object] = [
        interpreter(row, peers),
        ROWS_SCRIPT,
        row,
        folder,
        "--steps",
        steps,
        "--size",
        size,
        "--whole",
    ]
    with tempfile.TemporaryDirectory() as place:
        if row == "tintype":
            how = ["--steps", steps] if steps else ["--steps", 4, "--guidance-scale", 1]
            command = [sys.executable, "-m", "tintype", "text2img", PROMPT, "--model", folder, "-o", place, *how]
            command += ["--width", size, "--height", size, "--seed", 0]
        start = time.perf_counter()
        subprocess.run(list(map(str, command)), cwd=ROOT, check=True, capture_output=True, env=_environment())
        return time.perf_counter() - start


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}


def main() -> None:
    import torch

    from tintype.checkpoints.load import native_dtype
    from tintype.cli.bench import processor

    dtype = str(native_dtype(torch.device("cpu"))).removeprefix("torch.")
    native = dtype == "bfloat16"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(WITH_BF16 if native else WITHOUT_BF16))
    parser.add_argument("--rounds", type=int, default=3 if native else 2)
    parser.add_argument("--steps", type=int, default=20 if native else 0)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--whole", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    rows = ALL if arguments.rows == "all" else arguments.rows.split(",")
    if unknown := set(rows) - set(ALL):
        parser.error(f"there is no row {', '.join(unknown)}; there are {', '.join(ALL)}")
    peers, folder, began = environment(), make_model(dtype), time.perf_counter()
    if "openvino" in rows and not (BUILD / f"{folder.name}-openvino" / "decoder.xml").is_file():
        print("converting the networks for OpenVINO", flush=True)
        command = [peers, ROWS_SCRIPT, "convert", folder]
        done = subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, text=True)
        if done.returncode:
            print(f"openvino: left out, its conversion failed: {done.stderr.strip()[-400:]}", flush=True)
            rows.remove("openvino")

    place = RESULTS / f"{time.strftime('%Y-%m-%d')}-peers-{torch.backends.cpu.get_cpu_capability().lower()}.md"
    found: dict[str, list[dict]] = {row: [] for row in rows}
    whole: dict[str, list[float]] = {row: [] for row in rows}
    for number in range(arguments.rounds):
        for row in rows:
            if (one := run_row(row, folder, peers, arguments.steps, arguments.size)) is None:
                continue
            found[row].append(one)
            if arguments.whole and (native or number == 0):
                whole[row].append(run_whole(row, folder, peers, arguments.steps, arguments.size))
            if arguments.size == 512:  # at once, so that nothing measured is lost
                RESULTS.mkdir(exist_ok=True)
                place.with_suffix(".json").write_text(json.dumps({"rows": found, "whole": whole}, indent=1) + "\n")
            spent = (time.perf_counter() - began) / 60
            print(
                f"{spent:5.1f} min  round {number + 1}  {row}: UNet {median(one['seconds']['unet']):.2f} s", flush=True
            )

    lines = table({row: each for row, each in found.items() if each}, whole, arguments.steps)
    heading = (
        f"Stable Diffusion 1.5's size, random weights, {arguments.size} pixels square, {time.strftime('%Y-%m-%d')}: "
        f"{processor()} ({torch.backends.cpu.get_cpu_capability()}), {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, weights in {dtype}; `python -m benchmarks.peers {' '.join(sys.argv[1:])}`"
    )
    text = "\n".join([heading, "", *lines, ""])
    print(text)
    if arguments.size != 512:
        return
    place.write_text(text)
    print(place.relative_to(ROOT))


def median(values: list[float]) -> float:
    return statistics.median(values)


def spread(values: list[float]) -> str:
    """Median, and in brackets the least and the most."""
    if not values:
        return ""
    digits = 3 if median(values) < 1 else 2
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def table(found: dict[str, list[dict]], whole: dict[str, list[float]], steps: int) -> list[str]:
    """In seconds: medians over all rounds, with the least and the most."""
    pictures = f"{steps} steps, loaded" if steps else "20 steps, reckoned"
    kind = f"{steps} steps" if steps else "4 steps, no guidance"
    lines = [
        "| seconds | text | UNet, batch 2 | decode | 4 steps, no guidance "
        f"| {pictures} | whole process, {kind} | peak RSS | anonymous, at the end |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row, rounds in found.items():
        of = {part: [s for one in rounds for s in one["seconds"].get(part, [])] for part in (*PARTS, "picture")}
        picture = spread(of["picture"])
        if not steps:
            picture = f"{median(of['text']) + 20 * median(of['unet']) + median(of['decode']):.0f}"
        cells = [*(spread(of[part]) for part in PARTS), picture, spread(whole[row])]
        peak = max(one["peak"] for one in rounds) / 1e9
        anonymous = max(one["anonymous"] for one in rounds) / 1e9
        lines.append(f"| {row} | {' | '.join(cells)} | {peak:.1f} GB | {anonymous:.1f} GB |")
    return lines


PARTS = ("text", "unet", "decode", "few")

if __name__ == "__main__":
    main()
