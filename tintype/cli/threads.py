"""How many threads a command computes with: as many as there are physical cores to itself.

A second thread on a core shares its arithmetic units, and networks are all arithmetic. The library never sets threads.
"""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path

SYSTEM = Path("/sys")


def set_threads(threads: int | None) -> None:
    """As many as are asked for; without a wish, as the environment says, or as there are physical cores."""
    import torch

    if threads is None and not os.environ.get("OMP_NUM_THREADS") and not os.environ.get("MKL_NUM_THREADS"):
        threads = physical_cores()
    if threads is not None:
        torch.set_num_threads(threads)


def physical_cores(system: Path = SYSTEM) -> int | None:
    """The physical cores that this process may use, by Linux; None where that is not known: torch then decides."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    try:
        cores = {
            (system / f"devices/system/cpu/cpu{number}/topology/core_cpus_list").read_text()
            for number in os.sched_getaffinity(0)
        }
    except OSError:
        return None
    return max(1, min(len(cores), _quota(system) or len(cores)))


def _quota(system: Path) -> int | None:
    """How many cores' time a container may use; None where it has no bound."""
    try:
        quota, period = (system / "fs/cgroup/cpu.max").read_text().split()
        return ceil(int(quota) / int(period))
    except (OSError, ValueError):  # "max": no bound
        return None
