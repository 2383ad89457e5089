"""Hostile and broken files: each is one typed error, soon, without code run and without much memory."""

from __future__ import annotations

import gc
import json
import mmap
import os
import pickle
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from tests.unit.layouts import hostile_archives, hostile_pickles, hostile_safetensors
from tests.unit.layouts import saved_files as saved
from tests.unit.layouts.saved_files import CONTAINERS, GOOD, as_pickles, as_zip
from tintype.checkpoints.config_values import read_json
from tintype.errors import CheckpointError
from tintype.layouts.pickle_machine import OPERATIONS
from tintype.layouts.tensor_files import open_tensors
from tintype.layouts.weight_files import open_weights

SECONDS, BYTES = 2.0, 64_000_000

CANARY = Path(os.environ.get("TMPDIR", "/tmp")) / f"tintype-canary-{os.getpid()}"
CASES = [
    *hostile_safetensors.cases(),
    *hostile_pickles.cases(CANARY),
    *hostile_archives.cases(),
]
FILES = dict(CASES)


def read(path: Path) -> None:
    """All of it: names, weights, what stands beside them."""
    file = open_tensors(path)
    for _, tensor in file.tensors():
        tensor.float().sum()


# What a reader of a file of weights has no reason to do.
FORBIDDEN = (
    "os.",
    "subprocess.",
    "socket.",
    "shutil.",
    "ctypes.",
    "pty.",
    "exec",
    "compile",
    "import",
    "pickle.",
    "code.",
)
seen: list[str] = []
watching = False


def _watch(event: str, args: tuple) -> None:
    if not watching:
        return
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if writes or event.startswith(FORBIDDEN):
        seen.append(f"{event} {str(args)[:100]}")


@pytest.fixture(scope="module", autouse=True)
def guard(tmp_path_factory):
    """Installs the hook, which stays for ever, after what is imported late was imported."""
    folder = tmp_path_factory.mktemp("warm")
    torch.save({"w": torch.ones(2)}, folder / "good.ckpt")
    read(folder / "good.ckpt")
    for content in (
        b"\x80\2N.",
        b"PK\3\4",
        b"",
        hostile_safetensors.safetensors(b"{x"),
        hostile_safetensors.safetensors(b"\xff"),
    ):
        (folder / "bad").write_bytes(content)
        with pytest.raises(CheckpointError):
            read(folder / "bad")
    sys.addaudithook(_watch)
    # Python's collector walks all that is there, also what the tests before have left; that is not the reader's time.
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@contextmanager
def watched() -> Iterator[None]:
    """Nothing of the forbidden happens within, or the test fails."""
    global watching
    seen.clear()
    watching = True
    try:
        yield
    finally:
        watching = False
    assert not seen
    assert not CANARY.exists()


def peak() -> int | None:
    """The most memory that the process had since ``reset_peak``, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return None


def reset_peak() -> int | None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not on this system
        return None
    return peak()


def refuses(act: Callable[[], object]) -> str:
    """The message of the one typed error, which came in time and with little memory."""
    before = reset_peak()
    begin = time.process_time()  # of this process: tests run beside each other
    with watched(), pytest.raises(CheckpointError) as caught:
        act()
    elapsed = time.process_time() - begin
    after = peak()
    assert type(caught.value) is CheckpointError
    assert elapsed < SECONDS
    assert before is None or after is None or after - before < BYTES
    message = str(caught.value)
    assert len(message) < 700 and "\0" not in message
    return message


@pytest.mark.parametrize("label", FILES)
def test_a_hostile_file_is_one_typed_error(tmp_path, label):
    content = FILES[label]
    path = tmp_path / ("model.safetensors" if len(label) % 2 else "model.ckpt")  # the name counts for nothing
    path.write_bytes(content if isinstance(content, bytes) else content())
    assert path.name in refuses(lambda: read(path))


def test_there_are_at_least_three_hundred():
    assert len(FILES) == len(CASES), "two are named alike"
    assert len(FILES) + len(INDICES) + len(CONFIGS) >= 300


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_same_file_without_the_lie_is_read(tmp_path, container):
    path = tmp_path / "model.ckpt"
    data = torch.arange(8.0).numpy().tobytes()
    path.write_bytes(CONTAINERS[container](GOOD, data))
    ((name, tensor),) = open_tensors(path).tensors()
    assert name == "w" and torch.equal(tensor, torch.arange(8.0).reshape(2, 4))
    path.write_bytes(hostile_safetensors.good_safetensors())
    read(path)


def test_the_commands_would_run_elsewhere(tmp_path):
    """Python's own reader leaves the canary behind, and the hook sees it."""
    canary = tmp_path / "canary"
    made = dict(hostile_pickles.calls(canary))["os.system by REDUCE in zip"]
    body = made[made.index(b"\x80\2") : made.index(b"PK\3\4", 4)]
    with pytest.raises(AssertionError), watched():
        pickle.loads(body)
    assert canary.exists()
    assert any(event.startswith("os.system") for event in seen)


def test_the_guards_see_memory_and_files(tmp_path):
    def fill() -> None:
        pages = mmap.mmap(-1, 100_000_000)  # new ones, where malloc may have kept some
        pages[::4096] = bytes(len(range(0, 100_000_000, 4096)))
        raise CheckpointError("full")

    if reset_peak() is not None:
        with pytest.raises(AssertionError):
            refuses(fill)
    with pytest.raises(AssertionError), watched():
        (tmp_path / "x").write_bytes(b"")


def test_harm_is_named(tmp_path):
    path = tmp_path / "model.ckpt"
    path.write_bytes(FILES["os.system after tensors in zip"])
    message = refuses(lambda: read(path))
    assert "os.system" in message and "Nothing was run" in message


STEM = "diffusion_pytorch_model"
OUTSIDE = [
    *("../x.safetensors", "/etc/passwd", "/x.safetensors", "sub/x.safetensors", "../../x.bin", "..\\x.safetensors"),
    *("C:\\x.safetensors", "..", ".", "", "x.txt", "x", "x.safetensors\0", "\0.safetensors", "./x.safetensors"),
    *("x.safetensors/", "//x.safetensors", "file:///x.safetensors", "~/x.safetensors", "a/../x.safetensors"),
    *("sub\\..\\x.bin", "x" * 5000 + "/.safetensors"),
]
INDICES = {
    **{f"shard {shard[:20]!r}": json.dumps({"weight_map": {"a": shard}}) for shard in OUTSIDE},
    "shard missing": json.dumps({"weight_map": {"a": "y.safetensors"}}),
    "shard with a name too long": json.dumps({"weight_map": {"a": "y" * 5000 + ".safetensors"}}),
    "tensor missing": json.dumps({"weight_map": {"a": "x.safetensors", "z": "x.safetensors"}}),
    "empty map": json.dumps({"weight_map": {}}),
    "no map": json.dumps({"metadata": {}}),
    "map is a list": json.dumps({"weight_map": ["x.safetensors"]}),
    "map of numbers": json.dumps({"weight_map": {"a": 1}}),
    "map of lists": json.dumps({"weight_map": {"a": ["x.safetensors"]}}),
    "no object": "[]",
    "no json": "{",
    "nothing": "",
    "deep": '{"weight_map":' * 60_000,
    "deep lists": '{"weight_map":' + "[" * 900_000,
    "huge": '{"weight_map":{"a":"' + "x" * 5_000_000 + '"}}',
    "a million lists": '{"weight_map":[' + "[]," * 600_000 + "[]]}",
}


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
@pytest.mark.parametrize("label", INDICES)
def test_an_index_cannot_lead_outside_nor_astray(tmp_path, label, kind):
    for folder in (tmp_path, tmp_path / "model", tmp_path / "model" / "sub"):
        folder.mkdir(exist_ok=True)
        (folder / "x.safetensors").write_bytes(hostile_safetensors.good_safetensors())
        (folder / "x.bin").write_bytes(as_zip(GOOD))
    (tmp_path / "model" / f"{STEM}.{kind}.index.json").write_text(INDICES[label])
    assert refuses(lambda: open_weights(tmp_path / "model", STEM))


CONFIGS = {
    "deep lists": '{"a":' + "[" * 400_000,
    "deep objects": '{"a":' * 150_000,
    "deep and whole": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "huge": '{"a":"' + "x" * 2_000_000 + '"}',
    "a million lists": "[" + "[]," * 300_000 + "[]]",
    "a long number": '{"a":' + "1" * 900_000 + "}",
    "no json": "{'a': 1}",
    "a list": "[]",
    "a number": "1",
    "a text": '"a"',
    "nothing": "",
    "no text": b"\xff\xfe\xff",
    "a surrogate": b'{"\xed\xa0\x80":1}',
}


@pytest.mark.parametrize("label", CONFIGS)
def test_a_configuration_that_is_none(tmp_path, label):
    content = CONFIGS[label]
    path = tmp_path / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert "config.json" in refuses(lambda: read_json(path))


@pytest.mark.parametrize("make", [hostile_safetensors.good_safetensors, lambda: as_zip(GOOD), lambda: as_pickles(GOOD)])
def test_any_byte_may_be_wrong(tmp_path, make):
    """Each byte of a small file set to 255, and to 0: it is read, or it is a typed error."""
    whole = make()
    path = tmp_path / "model.ckpt"
    errors = 0
    for value in (255, 0):
        for at in range(0, len(whole), 2 - value // 255):
            path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            try:
                with watched():
                    read(path)
            except CheckpointError:
                errors += 1
    assert errors > len(whole) / 2


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(5))
def test_programs_at_random(tmp_path, seed):
    """Fragments of real pickles in any order: each is read, or is a typed error."""
    draw = random.Random(seed)
    opcodes = [bytes([code]) for code in OPERATIONS]
    fragments = [
        *(saved.name("torch._utils", "_rebuild_tensor_v2"), saved.name("torch", "FloatStorage"), saved.ORDERED),
        *(saved.name("torch", "Size"), saved.name("_codecs", "encode"), saved.name("a", "B"), saved.tensor()),
        *(saved.storage(), saved.numbers(2, 4), saved.number(-1), saved.text("state_dict"), saved.text("w")),
        *(b"(", b"t", b"R", b"s", b"u", b"b", b"h\0", b"q\0", b"}", b"]"),
    ]
    path = tmp_path / "model.ckpt"
    outcomes = {True: 0, False: 0}
    for _ in range(10_000):
        parts = (draw.choice(draw.choice((fragments, opcodes))) for _ in range(draw.randint(1, 40)))
        body = b"}(" + saved.text("w") + saved.tensor() + saved.text("x") + b"".join(parts) + b"u"
        path.write_bytes(CONTAINERS[draw.choice(list(CONTAINERS))](saved.program(body)))
        try:
            with watched():
                read(path)
        except CheckpointError:
            outcomes[False] += 1
        else:
            outcomes[True] += 1
    assert min(outcomes.values()) > 50
