"""Loading takes the memory of the weights in their target type and little more; switching gives it back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.unit.checkpoints.test_single_file import make
from tintype.checkpoints.convert import convert
from tintype.checkpoints.folder import save_folder
from tintype.checkpoints.single_file import save_single_file
from tintype.layouts.tensor_files import open_tensors
from tintype.models import UNet

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells anonymous memory")

ROOT = Path(__file__).resolve().parents[3]
RUNNER = Path(__file__).with_name("memory.py")
SLACK = 45_000_000
"""What is no weight: CLIP's tokenizer takes 30 MB, and torch and Python have buffers."""


WEIGHTS = 359_000_000
"""Of the model below, in fp32."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One model of 180 MB in fp16, in each form and precision."""
    folder = tmp_path_factory.mktemp("large")
    sd = make("SD 1")
    config = replace(sd.unet.config, channels=(128, 256, 384, 384))
    with torch.device("meta"):
        unet = UNet(config)
    sd.unet = unet.to_empty(device="cpu").half()
    for parameter in sd.unet.parameters():
        parameter.data.normal_(std=0.02)
    sd.to(dtype=torch.float16)
    save_single_file(sd, folder / "half.safetensors")
    save_folder(sd, folder / "folder")
    torch.save({"state_dict": dict(open_tensors(folder / "half.safetensors").tensors())}, folder / "half.ckpt")
    return folder


@pytest.fixture(scope="module")
def full_files(files, tmp_path_factory):
    """The same in fp32."""
    folder = tmp_path_factory.mktemp("full")
    convert(files / "folder", folder / "full.safetensors", dtype=torch.float32)
    full = dict(open_tensors(folder / "full.safetensors").tensors())
    torch.save({"state_dict": full}, folder / "full.ckpt")
    torch.save(full, folder / "old.ckpt", _use_new_zipfile_serialization=False)
    return folder


def told(*arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(RUNNER), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ["half.safetensors", "half.ckpt", pytest.param("folder", marks=pytest.mark.proof)])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_at_most_the_weights_and_a_tenth(files, name, dtype):
    """In the stored type the weights stay mapped and cost nothing; in another they are held once."""
    found = told("load", files / name, dtype)
    mapped = dtype == "float16"
    print(f"{name} as {dtype}: weights {found['weights'] / 1e6:.0f} MB, anonymous at most {found['peak'] / 1e6:.0f} MB")
    assert found["weights"] > (150_000_000 if mapped else 300_000_000)
    assert found["peak"] <= (0 if mapped else 1.1 * found["weights"]) + SLACK


@pytest.mark.parametrize("name", ["half.safetensors", pytest.param("folder", marks=pytest.mark.proof)])
def test_lean_weights_stay_in_their_file(files, name):
    """Drawn in fp32: no more than a third of what the weights would take."""
    peak = told("draw", files / name)["peak"]
    print(f"{name}, lean: a picture in fp32 with {peak / 1e6:.0f} MB")
    assert peak <= WEIGHTS / 3


@pytest.mark.proof
@pytest.mark.parametrize("name", ["full.safetensors", "full.ckpt", "old.ckpt"])
def test_down_to_half(full_files, name):
    found = told("load", full_files / name, "float16")
    print(f"{name} as float16: weights {found['weights'] / 1e6:.0f} MB, anonymous at most {found['peak'] / 1e6:.0f} MB")
    assert found["peak"] <= 1.1 * found["weights"] + SLACK


def test_switching_gives_memory_back(files):
    paths = [files / name for name in ("half.safetensors", "half.ckpt", "folder") * 2]
    after = told("switch", *paths)["after"]
    print(f"anonymous memory after each of {len(after)} models: {[round(each / 1e6) for each in after]} MB")
    assert len(after) == 6  # five switches
    assert max(after) <= after[0] + 0.2 * WEIGHTS  # all of them, and a closed one's tokenizer; not a model each
