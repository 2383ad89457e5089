"""``tintype bench`` measures what it says, and prints a table."""

from __future__ import annotations

import pytest

from tests.unit.pipeline.tiny import tiny_model
from tintype import cli
from tintype.checkpoints.folder import save_folder
from tintype.cli.bench import measure


def test_measure():
    sd, told = tiny_model(), []
    seconds = measure(sd, 3, 2, lambda: told.append(1), width=64, height=72)
    assert {name: len(each) for name, each in seconds.items()} == {
        "text encoder, prompt and negative prompt": 2,
        "UNet, one step with guidance": 6,
        "decoding": 2,
        "a picture, 3 steps": 2,
        "a picture, 4 steps without guidance": 2,
    }
    assert len(told) == 4
    for i in range(2):
        inside = sum(seconds["UNet, one step with guidance"][3 * i : 3 * i + 3]) + seconds["decoding"][i]
        assert 0 < inside < seconds["a picture, 3 steps"][i]


def test_the_command(tmp_path, capsys, monkeypatch):
    save_folder(tiny_model(), tmp_path / "tiny")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options = ["--model", str(tmp_path / "tiny"), "--steps", "2", "--repeats", "1", "--speed", "plain"]
    with pytest.raises(SystemExit) as ended:
        cli.app(["bench", *options, "--dtype", "float32"])
    assert not ended.value.code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tiny, 64 x 64, float32, plain: ")
    rows = {line.split(" | ")[0].strip("| "): line for line in lines if line.startswith("| ")}
    assert {"decoding", "a picture, 2 steps", "whole process, from the shell"} <= rows.keys()
    assert 0.1 < float(rows["most memory of the process"].split("|")[2].split()[0]) < 3
