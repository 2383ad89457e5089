"""Keeping what is freed: the system is asked for a block once."""

from __future__ import annotations

import subprocess
import sys

import pytest

resource = pytest.importorskip("resource")

BLOCKS = """
import resource
import sys
import torch
from tintype.speed.memory import keep_freed_memory

print(keep_freed_memory() if sys.argv[1] == "keep" else False)
for turn in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(12_000_000) for _ in range(3)]
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    del blocks
"""


def faults(how: str) -> tuple[bool, list[int]]:
    """Whether it could be, and the page faults of each turn."""
    done = subprocess.run([sys.executable, "-c", BLOCKS, how], capture_output=True, text=True, check=True)
    said, *counts = done.stdout.split()
    return said == "True", [int(count) for count in counts]


def test_blocks_are_faulted_in_once():
    could, kept = faults("keep")
    if not could:
        pytest.skip("this C library cannot be told to keep what is freed")
    _, given_back = faults("not")
    pages = 3 * 48_000_000 // resource.getpagesize()
    assert kept[-1] < pages / 100  # in the second turn it may still take a block beside: torch wants them aligned
    assert given_back[-1] > pages / 2
