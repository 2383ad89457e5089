"""How long the model in the box takes, from the shell and inside: ``python benchmarks/box.py``.

Whole processes are timed as a user meets them, the packages warm on the disk; the parts inside one process. Medians of
several runs, with their spread. Nothing else should run meanwhile.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

RUNS = 5
PROMPT = "paradise cosmic beach"


def timed(call: Callable[[], object], runs: int = RUNS) -> dict[str, float]:
    """Median, least and most seconds of ``call()``, after one call that is not counted."""
    call()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds)}


def processes() -> dict[str, dict[str, float]]:
    """Whole processes: the interpreter, torch's import, help, and a picture."""
    with tempfile.TemporaryDirectory() as folder:

        def run(*arguments: str) -> Callable[[], object]:
            return lambda: subprocess.run([sys.executable, *arguments], cwd=folder, check=True, capture_output=True)

        return {
            "python -c pass": timed(run("-c", "pass")),
            "python -c 'import torch'": timed(run("-c", "import torch")),
            "python -c 'import torch, tintype'": timed(run("-c", "import torch, tintype")),
            "tintype --help": timed(run("-m", "tintype", "--help")),
            "tintype text2img (20 steps, 256x256)": timed(run("-m", "tintype", "text2img", PROMPT)),
        }


def parts() -> dict[str, dict[str, float]]:
    """Inside one process: loading, a whole run, one UNet call with guidance, decoding."""
    import torch

    import tintype

    sd = tintype.load()
    run = sd.text2img(PROMPT, seed=7)
    latents = run.latents
    with torch.no_grad():
        cond = sd.unet.prepare(sd.conditioner([PROMPT] * 2).to(dtype=sd.dtype))
    x = torch.randn(2, *latents.shape[1:]).to(sd.dtype)
    return {
        "load": timed(tintype.load),
        "run, 20 steps": timed(lambda: sd.text2img(PROMPT, seed=7).images),
        "UNet, batch 2": timed(lambda: sd.predict(x, torch.ones(2), cond), runs=20),
        "decode": timed(lambda: sd.decode(latents), runs=20),
    }


def main() -> None:
    """Measure, print a table, and write it beside, dated and named by the machine."""
    import torch

    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.11 has it
    record = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {capabilities.get('cpu_name', 'unnamed')}",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "seconds": processes() | parts(),
    }
    for name, seconds in record["seconds"].items():
        print(f"{name:40} {seconds['median']:8.3f} s   ({seconds['min']:.3f} to {seconds['max']:.3f})")
    place = Path(__file__).parent / "results" / f"{record['date']}-box.json"
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(record, indent=1) + "\n")
    print(place)


if __name__ == "__main__":
    main()
