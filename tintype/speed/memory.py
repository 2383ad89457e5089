"""How much memory there is, and who keeps what is freed."""

from __future__ import annotations

import ctypes
import os

import torch


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return 1024 * int(line.split()[1])
    except OSError:
        pass
    whole = whole_memory()
    return None if whole is None else whole // 2


def whole_memory() -> int | None:
    """Bytes that the machine has; None where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def keep_freed_memory() -> bool:
    """Have this process keep what it frees for what it asks next; whether the C library can be told so: glibc can.

    It gives large blocks back to the system. Steps that ask for the same blocks again and again then spend up to a
    sixth of their time on having them faulted in, page by page (docs/log.md). It holds for the whole process, which
    stays as large as it was at its largest: for programs that do one thing and end.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None or not mallopt(_TRIM_THRESHOLD, -1):  # never
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 1 << 30) or mallopt(_MMAP_MAX, 0))  # an old glibc knows no such threshold


_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""Of glibc's malloc.h, explained in mallopt(3)."""
