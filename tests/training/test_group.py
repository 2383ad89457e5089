"""Several processes that learn together are one: the same losses, the same weights, states that either continues."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.training.member import CHAIN, OWN_FOLDER, learn
from tintype.training import LORAS, Chain, LoraLesson, open_source
from tintype.training.state import State, load_newest_state, states

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
TASKS = ("contrastive", "autoencoder", "denoiser", "lora")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

TOLERANCE = 1e-5
"""Relative, of each loss: the same numbers are added up in another order."""

NORM_TOLERANCE = 1e-4
"""Of the gradient's norm, whose parts are small differences of larger ones."""


@pytest.fixture(scope="module")
def ground(prepared) -> Path:
    """What every task needs, made once: a whole chain after a few steps, and a LoRA's pictures, encoded."""
    folder = prepared.parent / "ground"
    folder.mkdir()
    for path in prepared.iterdir():
        (folder / path.name).symlink_to(path)
    chain = Chain(CHAIN, folder)
    list(chain.denoiser_training(replace(CHAIN.denoiser, pictures=32)))
    (folder / "photos").mkdir()
    for number, colour in enumerate(("red", "green", "blue", "white")):
        Image.new("RGB", (64, 64), colour).save(folder / f"photos/{number}.png")
        (folder / f"photos/{number}.txt").write_text(f"all {colour}")
    source = open_source(str(folder / "photos"))
    with LoraLesson(chain.model(), source, replace(LORAS["tiny"], size=64), folder / "lora") as lesson:
        list(lesson.prepare())
    return folder


def runs(ground: Path, folder: Path, tasks: tuple[str, ...]) -> Path:
    """A folder with a run for each task, all of ``ground`` in it but the training itself."""
    for task in tasks:
        (folder / task / "lora").mkdir(parents=True)
        for path in ground.iterdir():
            if path.name not in (OWN_FOLDER[task], "lora"):
                (folder / task / path.name).symlink_to(path)
        (folder / task / "lora/latents").symlink_to(ground / "lora/latents")
    return folder


def together(folder: Path, *tasks: str, **dials: object) -> None:
    """Train in two processes."""
    words = [f"{name}={value}" for name, value in dials.items()]
    done = subprocess.run(
        [*TORCHRUN, HERE / "member.py", folder, ",".join(tasks), *words],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def log(folder: Path, task: str) -> list[dict]:
    return [json.loads(line) for line in (folder / task / OWN_FOLDER[task] / "log.jsonl").open()]


def newest(folder: Path, task: str) -> State:
    state = load_newest_state(folder / task / OWN_FOLDER[task])
    assert state is not None
    return state


def apart(one: State, other: State) -> dict[str, float]:
    """How far two states are apart, of each group of tensors, relative to its size; none without a partner."""
    found = {}
    for group, tensors in one.tensors.items():
        assert tensors.keys() == other.tensors[group].keys()
        names = [name for name in tensors if not name.endswith("/step")]
        ours, theirs = (torch.cat([each[name].flatten() for name in names]) for each in (tensors, other.tensors[group]))
        found[group] = ((ours - theirs).norm() / ours.norm()).item()
    return found


def assert_equal(one: Path, other: Path, task: str) -> None:
    ours, theirs = log(one, task), log(other, task)
    assert [line["seen"] for line in ours] == [line["seen"] for line in theirs]
    for mine, yours in zip(ours, theirs, strict=True):
        assert yours["loss"] == pytest.approx(mine["loss"], rel=TOLERANCE)
        assert yours["grad_norm"] == pytest.approx(mine["grad_norm"], rel=NORM_TOLERANCE)
    distances = apart(newest(one, task), newest(other, task))
    assert all(distance < 1e-4 for distance in distances.values()), distances


KINDS = {"denoiser": "ddp", "contrastive": "fsdp"}

MEMBER = """
import sys
from pathlib import Path
from tests.training.member import learn
for task, kind in zip(sys.argv[2::2], sys.argv[3::2]):
    learn(Path(sys.argv[1]) / task, task, pictures=32, shard=kind)
"""


@pytest.fixture(scope="module")
def short(ground, tmp_path_factory) -> tuple[Path, Path]:
    """The folders of one process and of two, which have trained a denoiser with DDP and CLIP with FSDP2: 4 updates."""
    one, two = (runs(ground, tmp_path_factory.mktemp(name), tuple(KINDS)) for name in ("one", "two"))
    port = free_port()
    words = [word for pair in KINDS.items() for word in pair]
    group = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    members = [
        subprocess.Popen(
            [sys.executable, "-c", MEMBER, two, *words],
            env=ENVIRONMENT | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)},  # what torchrun says to them
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    for task in KINDS:
        learn(one / task, task, pictures=32)
    for process in members:
        said = process.communicate()[1]
        assert process.returncode == 0, said
    return one, two


@pytest.mark.parametrize("task", KINDS)
def test_two_processes_are_one(short, task):
    one, two = short
    assert_equal(one, two, task)


@pytest.mark.proof
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
@pytest.mark.parametrize("task", TASKS)
def test_two_processes_are_one_for_twenty_updates(ground, tmp_path, task, kind):
    one, two = runs(ground, tmp_path / "one", (task,)), runs(ground, tmp_path / "two", (task,))
    learn(one / task, task)
    together(two, task, shard=kind)
    assert len(log(two, task)) == 20
    assert_equal(one, two, task)


@pytest.mark.proof
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_against_a_discriminator_each_update_is_the_same(ground, tmp_path, kind):
    """From one state. Over many updates two that learn against each other carry rounding far, in one process too."""
    one, two = runs(ground, tmp_path / "one", ("contest",)), runs(ground, tmp_path / "two", ("contest",))
    learn(one / "contest", "contest", pictures=80)
    subprocess.run(["cp", "-r", one / "contest/autoencoder", two / "contest/autoencoder"], check=True)
    learn(one / "contest", "contest", pictures=88)
    together(two, "contest", shard=kind, pictures=88)
    ours, theirs = log(one, "contest")[-1], log(two, "contest")[-1]
    assert {"rivals_loss", "perceptual"} <= ours["metrics"].keys()
    assert theirs["loss"] == pytest.approx(ours["loss"], rel=TOLERANCE)
    assert theirs["metrics"]["rivals_loss"] == pytest.approx(ours["metrics"]["rivals_loss"], rel=TOLERANCE)
    assert theirs["grad_norm"] == pytest.approx(ours["grad_norm"], rel=NORM_TOLERANCE)
    distances = apart(newest(one, "contest"), newest(two, "contest"))
    assert distances["rival_optimizer"] < 1e-3 and distances["model"] < 1e-4, distances


@pytest.mark.proof
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
@pytest.mark.parametrize("first", ["one", "two"])
def test_begun_by_one_ended_by_two_and_the_other_way_round(ground, tmp_path, kind, first):
    tasks = ("contrastive", "denoiser")
    whole, parts = runs(ground, tmp_path / "whole", tasks), runs(ground, tmp_path / "parts", tasks)
    for task in tasks:
        learn(whole / task, task)
    for number in ("one", "two") if first == "one" else ("two", "one"):
        stop = {"stop_at": 72} if number == first else {}
        if number == "two":
            together(parts, *tasks, shard=kind, **stop)
        else:
            for task in tasks:
                learn(parts / task, task, **stop)
        if number == first:
            assert [newest(parts, task).seen for task in tasks] == [72, 72]
    for task in tasks:
        assert_equal(whole, parts, task)


@pytest.mark.proof
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_pieces_and_checkpoints_in_two_processes(ground, tmp_path, kind):
    one, two = runs(ground, tmp_path / "one", ("denoiser",)), runs(ground, tmp_path / "two", ("denoiser",))
    learn(one / "denoiser", "denoiser", pictures=64)
    together(two, "denoiser", shard=kind, accumulate=2, checkpointing="true", pictures=64)
    assert_equal(one, two, "denoiser")


@pytest.mark.proof
def test_two_machines(ground, tmp_path):
    """Two network namespaces, a cable between them, and a torchrun in each."""
    one, two = runs(ground, tmp_path / "one", ("denoiser",)), runs(ground, tmp_path / "two", ("denoiser",))
    inside = ["unshare", "--user", "--map-root-user", "--net", "--mount", "sh", HERE / "apart.sh", sys.executable]
    try:
        done = subprocess.run(
            [*inside, HERE / "member.py", two, "denoiser", "shard=fsdp"],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        pytest.skip("there is no `unshare` here to make network namespaces with")
    if done.returncode == 77 or done.stderr.startswith("unshare:"):
        pytest.skip(f"network namespaces cannot be made here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    learn(one / "denoiser", "denoiser")
    assert_equal(one, two, "denoiser")


ENDLESS = ("train", "denoiser", "tiny", "pictures=1000000", "batch_size=8", "save_every=16")


def started(run: Path, *dials: str) -> subprocess.Popen[str]:
    """An endless training of two processes, once it has taken a step."""
    process = subprocess.Popen(
        [*TORCHRUN, "-m", "tintype", *ENDLESS, *dials, f"--folder={run}"],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    while "denoiser: " not in (line := process.stderr.readline()):
        assert line, "ended before it began"
    return process


def newer(state: Path, seen: int) -> bool:
    """Whether a state's folder is of more pictures."""
    return int(state.name.removeprefix("state-")) > seen


def children(launcher: int) -> list[int]:
    """The processes that a launcher has started."""
    return [int(word) for word in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()]


@pytest.mark.proof
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_launcher_saves_where_all_are(ground, tmp_path, number, kind):
    folder = runs(ground, tmp_path, ("denoiser",))
    process = started(folder / "denoiser", f"shard={kind}")
    process.send_signal(number)
    said = process.communicate()[1]
    assert said.count("saved after") == 1, said  # by the first, and by it alone
    assert newest(folder, "denoiser").seen == log(folder, "denoiser")[-1]["seen"]
    learn(folder / "denoiser", "denoiser", pictures=newest(folder, "denoiser").seen + 16)


@pytest.mark.proof
def test_ctrl_c_for_any_process_stops_all(ground, tmp_path):
    folder = runs(ground, tmp_path, ("denoiser",))
    process = started(folder / "denoiser")
    os.kill(children(process.pid)[1], signal.SIGINT)
    said = process.communicate()[1]
    assert "saved after" in said, said
    assert newest(folder, "denoiser").seen == log(folder, "denoiser")[-1]["seen"]


@pytest.mark.proof
@pytest.mark.parametrize("whom", ["first", "second", "all"])
def test_killed_a_group_leaves_a_state_that_continues(ground, tmp_path, whom):
    folder = runs(ground, tmp_path, ("denoiser",))
    last = 0
    for delay in (0.0, 0.3, 0.7):
        process = started(folder / "denoiser", "shard=fsdp")
        while not any(newer(path, last) for path in states(folder / "denoiser/denoiser")):
            time.sleep(0.05)
        time.sleep(delay)
        first, second = children(process.pid)
        for each in {"first": (first,), "second": (second,), "all": (process.pid, first, second)}[whom]:
            os.kill(each, signal.SIGKILL)
        process.communicate()
        state = newest(folder, "denoiser")
        assert state.seen > last and state.seen >= log(folder, "denoiser")[-1]["seen"] - 2 * 16
        last = state.seen
    learn(folder / "denoiser", "denoiser", pictures=last + 16)


SRUN = """#!/bin/sh
SLURM_NODEID=1 "$@" &
SLURM_NODEID=0 "$@" && wait $!
"""


@pytest.mark.proof
def test_the_slurm_script_with_two_launchers_here(ground, tmp_path):
    """``srun`` starts two launchers on this machine, and ``scontrol`` names it as the first."""
    folder = runs(ground, tmp_path / "run", ("denoiser",))
    for name, text in (("srun", SRUN), ("scontrol", "#!/bin/sh\necho localhost\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_ID": "7", "PORT": str(free_port())}
    said = {"PROCESSES": "1", "PYTHON": sys.executable, "RUN": str(folder / "denoiser")}
    path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", ROOT / "examples/slurm/train.sbatch", "denoiser", "tiny", "pictures=64", "shard=fsdp"],
        env=ENVIRONMENT | job | said | path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert newest(folder, "denoiser").seen == 64
    assert "denoiser: 64 of 64" in done.stderr
