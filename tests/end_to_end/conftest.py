"""The model in the box, as a user meets it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BOX = ROOT / "tintype" / "box"


@pytest.fixture(scope="session")
def box() -> Path:
    assert (BOX / "model_index.json").is_file(), f"the model in the box is missing: {BOX}"
    return BOX


@pytest.fixture(scope="session")
def sd(box):
    import torch

    import tintype

    return tintype.load(dtype=torch.float32, device="cpu")


@pytest.fixture
def tintype_command(box, tmp_path):
    """Run ``tintype ...`` as a process of its own, in an empty folder."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tintype", *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=280,
        )

    return run
