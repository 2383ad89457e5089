"""The command line answers at once, and the library loads nothing that was not asked for."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
import tomllib

from tests.contracts.repository import ROOT

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
    for _ in range(5):
        start = time.perf_counter()
        run([*TINTYPE, "--help"])
        times.append(time.perf_counter() - start)
    assert statistics.median(times) < 0.3 * SLOW_MACHINE, [f"{t:.3f} s" for t in times]


def test_help_of_a_command_answers_without_torch():
    for command in ("text2img", "img2img", "inpaint"):
        result = run([*TINTYPE, command, "--help"])
        assert result.returncode == 0, result.stderr
        assert "--seed" in result.stdout


def test_importing_loads_no_torch():
    heavy = {"torch", "numpy", "PIL", "tokenizers", "safetensors", "huggingface_hub", "skia"}
    assert not heavy & loaded_by("import tintype")
    assert not heavy & loaded_by(f"import {MODULE}")


def test_a_public_name_loads_what_it_needs():
    assert "torch" in loaded_by("import tintype; tintype.load")


def test_the_version_is_told():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version in run([*TINTYPE, "--version"]).stdout
