"""The one training loop: visit pictures, compute the task's loss, step, average, save.

training = Training(DenoiserTask(...), recipe, folder)
for progress in training:      # resumes by itself; training.stop() saves and ends
    print(progress.seen, progress.loss)
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from tintype.errors import TrainingError
from tintype.training.draws import Draw, visits
from tintype.training.ema import EMA
from tintype.training.gradient import Gradient
from tintype.training.optimizers import memory, remember
from tintype.training.processes import processes
from tintype.training.recipes import Recipe
from tintype.training.rival import Rival
from tintype.training.sharding import part, whole
from tintype.training.state import State, load_newest_state, save_state

MAX_SKIPPED = 20
"""Steps in a row whose loss or gradient may be not finite before training gives up."""


class Task(Protocol):
    """What is learnt: a model, and how a batch of visits becomes a loss."""

    @property
    def model(self) -> nn.Module:
        """The network whose weights are learnt."""
        ...

    @property
    def network(self) -> nn.Module:
        """What computes: the model, or what the model is attached to."""
        ...

    @property
    def shapes(self) -> Sequence[int] | None:
        """The bucket of each picture; None where all are of one size."""
        ...

    @property
    def num_pictures(self) -> int:
        """How many pictures an epoch visits."""
        ...

    def batch(self, draws: list[Draw]) -> Any:
        """The data of these visits, every random choice made from its Draw."""
        ...

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar to minimise, and parts of it worth watching."""
        ...

    @property
    def rival(self) -> Rival | None:
        """What learns against the model, beside it; None for most."""
        ...

    def after_step(self) -> None:
        """Keep the model within its bounds, and let a rival learn."""
        ...

    def notice(self) -> str | None:
        """What should be said aloud after this step."""
        ...


@dataclass(frozen=True)
class Progress:
    """One step of training."""

    seen: int  # pictures, this step's included
    loss: float
    metrics: dict[str, float]
    lr: float
    grad_norm: float
    pictures_per_second: float
    skipped: int  # steps so far whose gradient was not finite
    notice: str | None = None  # what should be said aloud


class Training:
    """A training that can be stopped at any step and continues bit-exactly from its folder.

    Iterating trains; every step yields a `Progress`. ``stop()``, from any thread or signal handler, ends it after
    the step in work, with the state saved. Where several processes learn together all of them make and iterate one,
    the first writes, and a stop of any is a stop of all.
    """

    def __init__(self, task: Task, recipe: Recipe, folder: Path) -> None:
        self.task, self.recipe, self.folder = task, recipe, folder
        self.group = processes()
        self.seen = 0
        self.skipped = 0
        self._stop = threading.Event()
        state = self.group.first_to_all(load_newest_state(folder) if self.group.is_first else None)
        if state is not None:  # before the model may be split
            task.model.load_state_dict(state.tensors["model"])
        self._gradient = Gradient(task, recipe, self.group)
        learnt = [(name, p) for name, p in task.model.named_parameters() if p.requires_grad]
        kind = _is_number if self._gradient.sharded else lambda each: False  # split and whole tensors, apart
        learnt.sort(key=kind)
        self.names = [name for name, _ in learnt]
        self.optimizer = torch.optim.AdamW(
            [{"params": [p for _, p in each]} for _, each in groupby(learnt, kind)],
            lr=recipe.lr,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self.ema = EMA(task.model, recipe.ema) if recipe.ema else None
        if state is not None:
            self._restore(state)
        self.saved = self.seen  # where the newest state stands, for those who watch
        self._forget_log_after(self.seen)

    def stop(self) -> None:
        """End after the step in work."""
        self._stop.set()

    def __iter__(self) -> Iterator[Progress]:
        recipe, model = self.recipe, self.task.model
        model.train()
        saved, skipped_in_a_row = self.seen, 0
        while self.seen < recipe.pictures and not self.group.any(self._stop.is_set()):
            started = time.perf_counter()
            stop = min(self.seen + recipe.batch_size, recipe.pictures)
            task = self.task
            draws = visits(recipe.seed, task.num_pictures, self.seen, stop, task.shapes)
            lr = recipe.lr_at(self.seen)
            if task.rival is not None:
                task.rival.at(self.seen, lr)
            self.optimizer.zero_grad()
            loss, metrics, grad_norm = self._gradient(draws)
            if math.isfinite(loss) and math.isfinite(grad_norm):
                self._step(lr)
                skipped_in_a_row = 0
            else:
                self.skipped += 1
                skipped_in_a_row += 1
                if skipped_in_a_row == MAX_SKIPPED:
                    raise TrainingError(
                        f"The loss or its gradient was not finite in {MAX_SKIPPED} steps in a row "
                        f"(after {self.seen} pictures). Lower lr ({recipe.lr}); the last state is untouched."
                    )
            rate = (stop - self.seen) / (time.perf_counter() - started)
            self.seen = stop
            progress = Progress(self.seen, loss, metrics, lr, grad_norm, rate, self.skipped, task.notice())
            self._log(progress)
            if self.seen - saved >= recipe.save_every and skipped_in_a_row == 0:
                self.save()
                saved = self.seen
            yield progress
        if self.seen > saved:
            self.save()

    def averaged(self) -> dict[str, Tensor]:
        """The weights to use: the moving average where one is kept. All processes must ask."""
        return whole(self.task.model.state_dict() | (self.ema.weights if self.ema else {}))

    def save(self) -> None:
        """Write the state now. All processes must ask; the first writes."""
        self.saved = self.seen
        tensors = {"model": dict(self.task.model.state_dict()), "optimizer": memory(self.optimizer, self.names)}
        numbers: dict[str, object] = {"skipped": self.skipped}
        if self.ema:
            tensors["ema"] = self.ema.weights
            numbers["ema_steps"] = self.ema.steps
        if self._gradient.scale:
            numbers["loss_scale"] = vars(self._gradient.scale)
        if self.task.rival is not None:
            tensors |= self.task.rival.tensors()
        state = State(self.seen, {name: whole(each) for name, each in tensors.items()}, numbers)
        with self.group.first_goes_ahead():
            if self.group.is_first:
                save_state(self.folder, state)

    def _step(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.task.after_step()
        if self.ema:
            self.ema.update(self.task.model)

    def _restore(self, state: State) -> None:
        """All but the model's weights, which were there before it was split."""
        parameters = dict(self.task.model.named_parameters())
        remembered = {
            key: part(value, parameters[key.rsplit("/", 1)[0]]) if value.ndim else value
            for key, value in state.tensors["optimizer"].items()
        }
        remember(self.optimizer, self.names, remembered)
        if self.ema:
            self.ema.weights = {name: part(value, parameters[name]) for name, value in state.tensors["ema"].items()}
            self.ema.steps = int(str(state.numbers["ema_steps"]))
        scale = state.numbers.get("loss_scale")
        if self._gradient.scale and isinstance(scale, dict):
            self._gradient.scale.restore(scale)
        if self.task.rival is not None:
            self.task.rival.restore(state.tensors)
        self.skipped = int(str(state.numbers["skipped"]))
        self.seen = state.seen

    @property
    def log(self) -> Path:
        """One JSON object a line: what each step yielded."""
        return self.folder / "log.jsonl"

    def _log(self, progress: Progress) -> None:
        if not self.group.is_first:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as file:
            file.write(json.dumps(progress.__dict__) + "\n")

    def _forget_log_after(self, seen: int) -> None:
        """Steps after the last state are trained again, so their lines go: the curve shows each step once."""
        if self.group.is_first and self.log.exists():
            lines = self.log.read_text().splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["seen"] <= seen]
            self.log.write_text("".join(kept))


def _is_number(each: tuple[str, nn.Parameter]) -> bool:
    """Whether a parameter is one number, which is not split over processes."""
    return each[1].ndim == 0
