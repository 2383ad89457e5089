"""A training that was stopped, killed or damaged goes on as if nothing had happened, or says so."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice

import pytest
import torch

from tintype.errors import TrainingError
from tintype.training import Chain, state
from tintype.training.draws import Draw, visits
from tintype.training.state import State, load_newest_state, save_state, states


def tensors_of(folder):
    state = load_newest_state(folder)
    assert state is not None
    return {f"{group}/{name}": t for group, part in state.tensors.items() for name, t in part.items()}


def fresh(chain, name, **changes):
    """A denoiser's training in a folder of its own under the run's."""
    recipe = replace(chain.recipe.denoiser, **({"pictures": 200, "batch_size": 16} | changes))
    return chain.denoiser_training(recipe, name)


def test_stopped_mid_epoch_continues_bit_exactly(chain):
    whole = fresh(chain, "whole")
    losses = [progress.loss for progress in whole]

    first = fresh(chain, "parts")
    begun = []
    for progress in first:
        begun.append(progress.loss)
        if progress.seen == 80:  # 48 pictures an epoch: in the middle of the second
            first.stop()
    continued = [progress.loss for progress in fresh(chain, "parts")]

    assert begun + continued == losses
    ours, theirs = tensors_of(chain.folder / "parts"), tensors_of(chain.folder / "whole")
    assert ours.keys() == theirs.keys()
    assert {name.split("/")[0] for name in ours} == {"model", "ema", "optimizer"}
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_two_that_learn_against_each_other_continue_bit_exactly(chain):
    """The discriminator and its optimizer are part of the state; it begins in the middle of the second epoch."""
    recipe = replace(
        chain.recipe.autoencoder,
        pictures=88,
        batch_size=8,
        perceptual_weight=0.5,
        adversarial_weight=0.5,
        adversarial_after=56,
    )
    states_of, logs = {}, {}
    for name, pauses in (("whole", ()), ("parts", (32, 72))):
        folder = chain.folder / name
        own = Chain(chain.recipe, folder)
        folder.mkdir()
        for made in ("pictures", "tokenizer", "clip"):
            (folder / made).symlink_to(chain.folder / made)
        losses = []
        for pause in (*pauses, None):
            training = own.autoencoder_training(recipe)
            for progress in training:
                losses.append((progress.loss, progress.metrics.get("rivals_loss")))
                if progress.seen == pause:
                    training.stop()
        states_of[name], logs[name] = tensors_of(folder / "autoencoder"), losses
    assert logs["parts"] == logs["whole"]
    assert [told is not None for _, told in logs["whole"]] == [False] * 7 + [True] * 4
    ours, theirs = states_of["parts"], states_of["whole"]
    assert {name.split("/")[0] for name in ours} == {"model", "ema", "optimizer", "rival", "rival_optimizer"}
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_log_shows_each_step_once_after_a_crash(chain):
    training = fresh(chain, "crash", save_every=64)
    list(islice(training, 6))  # saved at 64, seen 96
    assert load_newest_state(chain.folder / "crash").seen == 64
    list(fresh(chain, "crash"))
    seen = [json.loads(line)["seen"] for line in (chain.folder / "crash/log.jsonl").open()]
    assert seen == [*range(16, 200, 16), 200]


def test_log_begins_anew_where_nothing_was_saved(chain):
    list(islice(fresh(chain, "unsaved"), 3))
    list(fresh(chain, "unsaved", pictures=32))
    assert [json.loads(line)["seen"] for line in (chain.folder / "unsaved/log.jsonl").open()] == [16, 32]


def test_damaged_newest_state_means_the_one_before_aloud(tmp_path):
    for seen in (1, 2):
        save_state(tmp_path, State(seen, {"model": {"w": torch.full((4,), float(seen))}}, {}))
    file = states(tmp_path)[-1] / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.warns(UserWarning, match="damaged"):
        assert load_newest_state(tmp_path).seen == 1
    for path in states(tmp_path):
        (path / "state.json").write_text("{")
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(TrainingError, match="All 2 states"):
        load_newest_state(tmp_path)


def test_a_failed_write_leaves_the_old_state(tmp_path):
    save_state(tmp_path, State(1, {"model": {"w": torch.zeros(4)}}, {}))
    with pytest.raises(TypeError):
        save_state(tmp_path, State(2, {"model": {"w": torch.zeros(4)}}, {"not json": object()}))
    assert [path.name for path in tmp_path.iterdir()] == ["state-000000000001"]
    assert load_newest_state(tmp_path).seen == 1


def test_a_full_disk_leaves_the_old_state(tmp_path, monkeypatch):
    save_state(tmp_path, State(1, {"model": {"w": torch.zeros(4)}}, {}))

    def no_room(path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(state, "flush", no_room)
    with pytest.raises(OSError, match="No space left"):
        save_state(tmp_path, State(2, {"model": {"w": torch.zeros(4)}}, {}))
    assert [path.name for path in tmp_path.iterdir()] == ["state-000000000001"]
    assert load_newest_state(tmp_path).seen == 1


def test_not_finite_steps_are_skipped_counted_and_never_saved(chain):
    training = fresh(chain, "nan", save_every=16)
    task, healthy = training.task, training.task.loss
    steps = iter(range(100))
    task.loss = lambda batch: (lambda loss, metrics: (loss * float("nan") if next(steps) in (2, 3) else loss, metrics))(
        *healthy(batch)
    )
    progress = list(training)
    assert progress[-1].skipped == 2
    assert all(torch.isfinite(t).all() for t in tensors_of(chain.folder / "nan").values())

    hopeless = fresh(chain, "hopeless", pictures=2_000)
    hopeless.task.loss = lambda batch: (lambda loss, metrics: (loss * float("nan"), metrics))(
        *type(hopeless.task).loss(hopeless.task, batch)
    )
    with pytest.raises(TrainingError, match="20 steps in a row"):
        list(hopeless)
    assert load_newest_state(chain.folder / "hopeless") is None


def test_draws_depend_on_seed_epoch_picture_and_purpose_only():
    value = Draw(0, 1, 2).rng("noise").random()
    assert value == Draw(0, 1, 2).rng("noise").random()
    others = [
        Draw(1, 1, 2).rng("noise"),
        Draw(0, 2, 2).rng("noise"),
        Draw(0, 1, 3).rng("noise"),
        Draw(0, 1, 2).rng("t"),
    ]
    assert len({value, *(rng.random() for rng in others)}) == 5


def test_an_epoch_visits_every_picture_once_in_an_order_of_its_own():
    walk = visits(0, 10, 0, 30)
    assert [sorted(draw.index for draw in walk[i : i + 10]) for i in (0, 10, 20)] == [list(range(10))] * 3
    assert [draw.index for draw in walk[:10]] != [draw.index for draw in walk[10:20]]
    assert visits(0, 10, 7, 23) == walk[7:23]


KILLED = """
import sys
from pathlib import Path
from dataclasses import replace
import torch
torch.set_num_threads(1)
from tintype.training import Chain
from tintype.training.recipes import TINY
chain = Chain(replace(TINY, pictures=48), Path(sys.argv[1]))
recipe = replace(TINY.denoiser, pictures=100_000, batch_size=8, save_every=16)
for progress in chain.denoiser_training(recipe):
    print(progress.seen, flush=True)
"""


def kill_and_read(chain, steps: int, delay: float) -> int:
    """Train in a process of its own, kill -9 it ``delay`` seconds after some steps, and read what it left."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(chain.folder)], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stdout is not None
    first = [int(process.stdout.readline()) for _ in range(steps)][-1]
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    last = [first, *(int(line) for line in process.stdout.read().split("\n")[:-1])][-1]
    process.wait()
    state = load_newest_state(chain.folder / "denoiser")
    seen = state.seen if state else 0
    assert seen > last - 2 * 16, "a committed step was lost"
    return seen


def test_killed_at_any_instant_nothing_is_lost(chain):
    seen = [kill_and_read(chain, steps, delay) for steps, delay in ((1, 0.2), (5, 0.1), (3, 0.0))]
    assert seen == sorted(seen)
    assert seen[-1] > 0


@pytest.mark.proof
def test_killed_fifty_times(chain):
    chance = torch.Generator().manual_seed(0)
    seen = [kill_and_read(chain, 1, 1.5 * torch.rand((), generator=chance).item()) for _ in range(50)]
    assert seen == sorted(seen)
