"""How many threads a command takes."""

from __future__ import annotations

import os

import pytest
import torch

from tintype.cli.threads import physical_cores, set_threads

linux = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores are counted on Linux")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Two cores of two threads each, of which the process may use what ``may`` says."""

    def made(may: set[int], quota: str | None = None):
        for number, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
            place = tmp_path / f"devices/system/cpu/cpu{number}/topology/core_cpus_list"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(siblings + "\n")
        if quota is not None:
            (tmp_path / "fs/cgroup").mkdir(parents=True)
            (tmp_path / "fs/cgroup/cpu.max").write_text(quota + "\n")
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: may)
        return tmp_path

    return made


@linux
@pytest.mark.parametrize(
    ("may", "quota", "cores"),
    [
        ({0, 1, 2, 3}, None, 2),
        ({0, 2}, None, 1),
        ({0, 1}, "max 100000", 2),
        ({0, 1, 2, 3}, "150000 100000", 2),
        ({0, 1, 2, 3}, "50000 100000", 1),
    ],
)
def test_physical_cores(machine, may, quota, cores):
    assert physical_cores(machine(may, quota)) == cores


@linux
def test_where_nothing_is_known(tmp_path):
    assert physical_cores(tmp_path) is None


@pytest.fixture
def threads(monkeypatch):
    before = torch.get_num_threads()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    yield monkeypatch
    torch.set_num_threads(before)


@linux
def test_a_wish_counts_more_than_the_environment_and_that_more_than_the_cores(threads):
    torch.set_num_threads(7)
    set_threads(None)
    assert torch.get_num_threads() == physical_cores()
    torch.set_num_threads(7)
    threads.setenv("OMP_NUM_THREADS", "1")
    set_threads(None)
    assert torch.get_num_threads() == 7
    set_threads(3)
    assert torch.get_num_threads() == 3
