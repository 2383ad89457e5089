"""The command line answers at once, and the library loads nothing that was not asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.contracts.repository import ROOT
from tests.unit.adapters.test_textual_inversion import into_pixels
from tests.unit.checkpoints import full_size
from tests.unit.checkpoints.test_detect import header
from tintype.checkpoints.families import SD1, SDXL
from tintype.checkpoints.load import BOX

# What the console script does; the tests need no installed one.
MODULE, NAME = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["tintype"].split(":")
TINTYPE = [
    sys.executable,
    "-c",
    f"import sys; from {MODULE} import {NAME}; sys.argv[0] = 'tintype'; sys.exit({NAME}())",
]

SLOW_MACHINE = float(os.environ.get("TINTYPE_SLOW_MACHINE", "1"))  # a factor, for machines that are known to be slow


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})


def loaded_by(statement: str) -> set[str]:
    result = run([sys.executable, "-c", f"{statement}\nimport sys; print(*sys.modules)"])
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_help_answers_at_once():
    assert run([*TINTYPE, "--help"]).returncode == 0  # and now the byte code is written
    times = []
    while len(times) < 5 or (
        min(times) >= 0.3 * SLOW_MACHINE and len(times) < 20
    ):  # others work beside: the least tells
        start = time.perf_counter()
        run([*TINTYPE, "--help"])
        times.append(time.perf_counter() - start)
    assert min(times) < 0.3 * SLOW_MACHINE, [f"{t:.3f} s" for t in times]


def test_help_of_a_command_answers_without_torch():
    for command in ("text2img", "img2img", "inpaint"):
        result = run([*TINTYPE, command, "--help"])
        assert result.returncode == 0, result.stderr
        assert "--seed" in result.stdout


INSPECTED = ["box", "sdxl.safetensors", "sd1.ckpt", "vae.safetensors", "lora.safetensors", "word.pt", "word.png"]
ONLY_LOOK = """
import sys
from tintype.cli import app
app(["inspect", sys.argv[1]], standalone_mode=False)
assert "torch" not in sys.modules, "torch was imported"
"""


@pytest.fixture(scope="module")
def inspected(tmp_path_factory) -> dict[str, Path]:
    """A file of each kind, the models as large as the published ones."""
    folder = tmp_path_factory.mktemp("inspected")
    full_size.safetensors(folder / "sdxl.safetensors", header(SDXL))
    full_size.ckpt(folder / "sd1.ckpt", header(SD1))
    full_size.safetensors(folder / "vae.safetensors", header(SD1, parts=("vae",)))
    layers = [f"lora_unet_input_blocks_{i}_1_transformer_blocks_{j}_attn2_to_k" for i in range(9) for j in range(80)]
    rows = {"lora_up.weight": torch.ones(8, 4), "lora_down.weight": torch.ones(4, 8), "alpha": torch.tensor(4.0)}
    save_file(
        {f"{layer}.{kind}": row.clone() for layer in layers for kind, row in rows.items()}, folder / "lora.safetensors"
    )
    torch.save({"string_to_param": {"*": torch.ones(4, 768)}}, folder / "word.pt")
    into_pixels({"string_to_param": {"*": {"TORCHTENSOR": [[0.5] * 768]}}}, Image.new("RGB", (64, 64), "red")).save(
        folder / "word.png"
    )
    return {name: folder / name for name in INSPECTED} | {"box": BOX}


@pytest.mark.parametrize("name", INSPECTED)
def test_inspect_answers_within_a_second_and_without_torch(inspected, name):
    """As a process, from the shell: the processor's time, since tests run beside each other."""
    seconds = []
    for _ in range(2):  # the first may have to write the byte code
        before = os.times()
        result = run([sys.executable, "-c", ONLY_LOOK, str(inspected[name])])
        after = os.times()
        assert result.returncode == 0, result.stderr
        seconds.append(sum(after[2:4]) - sum(before[2:4]))
    print(f"{name}: {min(seconds):.2f} s")
    assert min(seconds) < 1.0 * SLOW_MACHINE


def test_importing_loads_no_torch():
    heavy = {"torch", "numpy", "PIL", "tokenizers", "safetensors", "huggingface_hub", "skia"}
    assert not heavy & loaded_by("import tintype")
    assert not heavy & loaded_by(f"import {MODULE}")


def test_a_public_name_loads_what_it_needs():
    assert "torch" in loaded_by("import tintype; tintype.load")


def test_the_version_is_told():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version in run([*TINTYPE, "--version"]).stdout
