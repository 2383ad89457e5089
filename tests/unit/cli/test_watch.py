"""What a person sees of a training: a curve in one line, the time that is left, lines and the live panel."""

from __future__ import annotations

import io
import mmap
import re
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from tintype.cli.watch import SPARK_WIDTH, Lines, Panel, Spark, clock, memory, resident
from tintype.training.loop import Progress, Training
from tintype.training.recipes import Recipe

RECIPE = Recipe(pictures=96, batch_size=16, lr=1e-2, warmup=0)


class Slope:
    """A line through the origin learns its slope."""

    num_pictures, shapes, rival = 8, None, None

    def __init__(self) -> None:
        self.model = self.network = torch.nn.Linear(1, 1, bias=False)

    def batch(self, draws):
        return torch.tensor([[float(draw.index)] for draw in draws])

    def loss(self, batch):
        loss = (self.model(batch) - 3 * batch).square().mean()
        return loss, {"slope": self.model.weight.detach().mean()}

    def after_step(self) -> None:
        pass

    def notice(self) -> str | None:
        return None


@pytest.fixture
def training(tmp_path):
    return Training(Slope(), RECIPE, tmp_path)


def test_a_curve_in_one_line():
    spark = Spark()
    assert str(spark) == ""
    for value in (0.0, 7.0, float("nan"), 14.0):
        spark.add(value)
    assert str(spark) == "▁▅█"
    for value in range(10_000):
        spark.add(-float(value))
    assert len(str(spark)) == SPARK_WIDTH
    assert str(spark)[0] == "█" and str(spark)[-1] == "▁"
    assert len(spark.means) < 2 * SPARK_WIDTH
    flat = Spark()
    flat.add(2.0)
    assert str(flat) == "▁"


@pytest.mark.parametrize(("seconds", "said"), [(0, "0:00"), (62.4, "1:02"), (3723, "1:02:03"), (90_000, "25:00:00")])
def test_time_as_on_a_clock(seconds, said):
    assert clock(seconds) == said


def test_lines_say_loss_metrics_pace_time_and_memory(training, capsys):
    lines = Lines("slope", training)
    for progress in training:
        lines.show(replace(progress, notice="look") if progress.seen == 48 else progress)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3, "the first one, the notice and the last, within two seconds"
    assert said[1] == "slope: look"
    assert re.fullmatch(
        r"slope: 96 of 96  loss \d+\.\d{4}  slope -?[\d.e-]+  \d+ pictures/s  0:00 left  \d+\.\d\d GB", said[-1]
    )


def test_the_panel_shows_what_is_learnt(training):
    console = Console(file=io.StringIO(), width=110, force_terminal=True)
    panel = Panel("slope", training, console)
    console.print(panel)
    for progress in training:
        panel.show(progress)
    console.print(panel)
    said = re.sub(r"\x1b\[[\d;]*m", "", console.file.getvalue())
    for told in ("0 of 96", "96 of 96", "0:00 left", "loss", "slope", "gradient", "pictures/s", "GB", "lr 0.01"):
        assert told in said
    assert "left out" not in said
    panel.show(Progress(96, float("nan"), {}, 0.1, 1.0, 1.0, 3, "[bold]look[/]"))
    assert "slope: [bold]look[/]\n" in console.file.getvalue()
    console.print(panel)
    assert "3 left out" in console.file.getvalue()


def test_memory_is_what_the_program_holds(training):
    before = resident()
    held = torch.frombuffer(mmap.mmap(-1, 200_000_000), dtype=torch.uint8).fill_(1)  # new, whatever malloc has kept
    assert resident() - before > 0.8 * held.nbytes
    assert memory(training).endswith(" GB")
