"""What torch.save writes, read back without torch.load: every type and form, and files that torch.load refuses."""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import functools
import gc
import pathlib
import pickle
import sys
import types

import numpy
import pytest
import torch

from tintype.errors import CheckpointError
from tintype.layouts.pickle_machine import Name, Record
from tintype.layouts.pickle_reader import PickleFile
from tintype.layouts.state_dict import items_of
from tintype.layouts.stored_tensors import StoredTensor

BOTH = pytest.mark.parametrize("as_zip", [True, False])

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.uint16, torch.complex64),
]


def saved(content: object, path: pathlib.Path, as_zip: bool = True) -> pathlib.Path:
    torch.save(content, path, _use_new_zipfile_serialization=as_zip)
    return path


def identical(a: torch.Tensor, b: torch.Tensor) -> bool:
    def content(tensor: torch.Tensor) -> bytes:
        return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()

    return (a.dtype, a.shape) == (b.dtype, b.shape) and content(a) == content(b)


@BOTH
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type(tmp_path, dtype, as_zip):
    bits = torch.randint(0, 2, (3, 5)) if dtype is torch.bool else torch.randn(3, 5) * 10
    tensors = {"w": bits.to(dtype), "one": bits[0, 0].to(dtype), "none": torch.empty(0, 4, dtype=dtype)}
    file = PickleFile(saved(tensors, tmp_path / "a.ckpt", as_zip))
    found = dict(file.tensors())
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert identical(found[name], tensor)
        if dtype.is_complex or (dtype.itemsize == 1 and dtype.is_floating_point):
            with pytest.raises(CheckpointError, match="not read here"):
                file.numbers("w")
        else:
            assert file.numbers(name).tolist() == tensor.double().tolist()


@BOTH
def test_views_strides_and_shared_storages(tmp_path, as_zip):
    whole = torch.randn(6, 8)
    tensors = {
        "whole": whole,
        "transposed": whole.t(),
        "part": whole[2:4, 1:7:2],
        "row": whole[5],
        "turned": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "buffer": torch.nn.Buffer(torch.randn(3)),
    }
    tensors["tied"] = tensors["parameter"]
    file = PickleFile(saved(tensors, tmp_path / "a.ckpt", as_zip))
    found = dict(file.tensors())
    assert all(identical(found[name], tensor) for name, tensor in tensors.items())
    assert all(file.numbers(name).tolist() == tensor.double().tolist() for name, tensor in tensors.items())
    assert found["transposed"].stride() == tensors["transposed"].stride()


@BOTH
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol(tmp_path, protocol, as_zip):
    content = {"state_dict": {"w": torch.randn(3)}, "set": {1}, "frozen": frozenset({2}), "bytes": b"\xff", "n": 2**80}
    path = tmp_path / "a.ckpt"
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=as_zip)
    file = PickleFile(path)
    assert identical(dict(file.tensors())["w"], content["state_dict"]["w"])
    assert file.metadata == {"n": str(2**80)}
    assert file.tree["bytes"] == b"\xff" and file.tree["n"] == 2**80


def test_weights_are_views_of_the_mapped_file(tmp_path):
    path = saved({"w": torch.randn(1000, 1000)}, tmp_path / "a.ckpt")
    tensor = dict(PickleFile(path).tensors())["w"]
    gc.collect()
    assert tensor.is_contiguous()
    begin = tensor.data_ptr()
    maps = [line.split() for line in pathlib.Path("/proc/self/maps").read_text().splitlines()]
    ranges = [([int(end, 16) for end in line[0].split("-")], line[-1]) for line in maps]
    assert [file for (low, high), file in ranges if low <= begin < high] == [str(path)]
    before = path.read_bytes()
    tensor.zero_()  # copied on write: the file stays as it is
    assert path.read_bytes() == before


@BOTH
def test_a_module_s_state_dict_has_attributes(tmp_path, as_zip):
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    found = dict(PickleFile(saved(network.state_dict(), tmp_path / "a.ckpt", as_zip)).tensors())
    for name, tensor in network.state_dict().items():
        assert identical(found[name], tensor)


WRAPPED = {
    "plain": lambda sd: sd,
    "lightning": lambda sd: {"epoch": 7, "global_step": 470000, "state_dict": sd, "callbacks": {}, "lr": 1e-4},
    "twice": lambda sd: {"state_dict": {"state_dict": sd}},
    "model": lambda sd: {"model": sd, "optimizer": {"state": {0: {"step": torch.zeros(())}}}},
    "module": lambda sd: {"module": {"model": sd}, "name": "x"},
}


@BOTH
@pytest.mark.parametrize("how", WRAPPED)
def test_the_innermost_state_dict_is_found(tmp_path, how, as_zip):
    state = collections.OrderedDict({"a.weight": torch.randn(2, 2), "a.bias": torch.randn(2)})
    file = PickleFile(saved(WRAPPED[how](state), tmp_path / "a.ckpt", as_zip))
    assert list(file.infos) == list(state)
    assert all(identical(tensor, state[name]) for name, tensor in file.tensors())
    expected = {"lightning": {"epoch": "7", "global_step": "470000", "lr": "0.0001"}, "module": {"name": "x"}}
    assert file.metadata == expected.get(how, {})


def test_dicts_of_dicts_have_dotted_names(tmp_path):
    content = {"unet": {"a": {"b": torch.ones(1)}}, "text": {"c": torch.zeros(1)}, "notes": ["x"], 3: torch.ones(2)}
    assert list(PickleFile(saved(content, tmp_path / "a.pt")).infos) == ["unet.a.b", "text.c"]


@BOTH
def test_textual_inversion_through_the_tree(tmp_path, as_zip):
    vector = torch.nn.Parameter(torch.randn(2, 8))
    content = {
        "string_to_token": {"*": torch.tensor(265)},
        "string_to_param": torch.nn.ParameterDict({"*": vector}),
        "name": "cat",
        "step": 900,
        "sd_checkpoint": None,
    }
    file = PickleFile(saved(content, tmp_path / "cat.pt", as_zip))
    assert file.metadata == {"name": "cat", "step": "900"}
    assert file.tensor(file.tree["string_to_token"]["*"]).item() == 265
    assert isinstance(file.tree["string_to_param"], Record)  # as the first ones had it
    ((star, handle),) = items_of(file.tree["string_to_param"])
    assert star == "*" and identical(file.tensor(handle), vector)
    assert list(file.infos) == ["string_to_token.*", "string_to_param.*"]
    content["string_to_param"] = {"*": vector}  # as most files have it
    file = PickleFile(saved(content, tmp_path / "cat.pt", as_zip))
    handle = file.tree["string_to_param"]["*"]
    assert isinstance(handle, StoredTensor) and (handle.shape, handle.dtype.torch) == ((2, 8), torch.float32)
    assert identical(file.tensor(handle), vector)


class Colour(enum.Enum):
    RED = "red"


class Callback:
    """A class of this test, as a trainer's callbacks are classes of the trainer."""

    def __init__(self):
        self.best, self.path = torch.tensor(0.5), pathlib.PurePosixPath("a/b")


class Mapping(dict):
    """As omegaconf's and lightning's dicts."""


class Slots:
    __slots__ = ("a",)

    def __init__(self):
        self.a = 1


REFUSED = {
    "a callback's class as a key": {"callbacks": {Callback: {"best": 1}}},
    "a callback": {"callbacks": [Callback()]},
    "numpy scalar": {"best": numpy.float64(0.25)},
    "numpy array": {"mean": numpy.arange(4.0)},
    "namespace": {"hyper_parameters": argparse.Namespace(lr=1e-4)},
    "subclass of dict": {"hyper_parameters": Mapping(lr=1e-4)},
    "partial": {"schedule": functools.partial(max, 1)},
    "enum": {"colour": Colour.RED},
    "path": {"path": pathlib.PurePosixPath("a/b")},
    "date": {"when": datetime.datetime(2022, 8, 22)},
    "slots": {"slots": Slots()},
    "function": {"loss": Callback.__init__},
    "deque": {"losses": collections.deque([1.0, 2.0], maxlen=3)},
    "range": {"steps": range(3)},
    "optimizer": {"optimizer": torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))])},
    "generator": {"random": numpy.random.RandomState(0)},
}


@BOTH
@pytest.mark.parametrize("kind", REFUSED)
def test_reads_what_weights_only_refuses(tmp_path, kind, as_zip):
    state = {"w": torch.randn(3, 4), "b": torch.randn(4).half()}
    path = saved({"state_dict": state, "epoch": 3, **REFUSED[kind]}, tmp_path / "a.ckpt", as_zip)
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        torch.load(path, weights_only=True)
    file = PickleFile(path)
    assert all(identical(tensor, state[name]) for name, tensor in file.tensors())
    assert list(file.infos) == list(state)
    assert file.metadata == {"epoch": "3"}


def test_classes_that_are_not_installed(tmp_path, monkeypatch):
    """As Lightning and omegaconf are not: what they wrote is made by modules of their names, which then go."""
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks", "omegaconf"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    checkpoint = type("ModelCheckpoint", (), {"__module__": "pytorch_lightning.callbacks"})
    config = type("DictConfig", (), {"__module__": "omegaconf"})
    monkeypatch.setattr(sys.modules["pytorch_lightning.callbacks"], "ModelCheckpoint", checkpoint, raising=False)
    monkeypatch.setattr(sys.modules["omegaconf"], "DictConfig", config, raising=False)
    made = config()
    made.content = {"lr": 1.0, "self": made}
    state = {"w": torch.randn(5)}
    path = saved({"state_dict": state, "callbacks": {checkpoint: {"best": 0.1}}, "config": made}, tmp_path / "a.ckpt")
    for name in ("pytorch_lightning.callbacks", "pytorch_lightning", "omegaconf"):
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    with pytest.raises(ModuleNotFoundError):
        torch.load(path, weights_only=False)
    file = PickleFile(path)
    assert identical(dict(file.tensors())["w"], state["w"])
    (callback,) = file.tree["callbacks"]
    assert callback == Name("pytorch_lightning.callbacks.ModelCheckpoint")
    record = file.tree["config"]
    assert record.name == "omegaconf.DictConfig" and record.state["content"]["self"] is record
    assert repr(record) == "Record('omegaconf.DictConfig')"


def test_objects_beyond_the_tensors_are_kept_as_records(tmp_path):
    content = {"w": torch.ones(1), "callback": Callback(), "deque": collections.deque([1, 2]), "mapping": Mapping(a=1)}
    tree = PickleFile(saved(content, tmp_path / "a.ckpt")).tree
    assert tree["callback"].name.endswith(".Callback")
    assert isinstance(tree["callback"].state["best"], StoredTensor)
    assert tree["callback"].state["path"].name == "pathlib.PurePosixPath"
    assert tree["deque"].name == "collections.deque" and tree["deque"].items == [1, 2]
    assert tree["mapping"].entries == [("a", 1)]


@BOTH
@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: {"model": model}, lambda model: {"state": model}])
def test_a_module_saved_whole(tmp_path, wrap, as_zip):
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Sequential(torch.nn.BatchNorm1d(4)))
    found = dict(PickleFile(saved(wrap(network), tmp_path / "a.ckpt", as_zip)).tensors())
    prefix = "state." if "state" in wrap({}) else ""
    state = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    assert found.keys() == state.keys() and all(identical(found[name], state[name]) for name in state)


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, [torch.ones(1)], torch.ones(1), {"epoch": 3}, 5, None])
def test_a_file_without_named_tensors(tmp_path, content):
    with pytest.raises(CheckpointError, match="no named tensors"):
        PickleFile(saved(content, tmp_path / "a.ckpt"))


def test_a_pickle_that_torch_did_not_write(tmp_path):
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match=r"torch\.save did not write it"):
        PickleFile(tmp_path / "a.pt")


def test_torchscript_is_named(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="TorchScript"):
        PickleFile(tmp_path / "a.pt")


def test_a_training_state_of_an_sdxl_fits_the_limits(tmp_path):
    """Weights, averages, two moments and steps of 2,600 tensors."""
    state = {f"model.diffusion_model.input_blocks.{i}.weight": torch.zeros(1) for i in range(5 * 2600)}
    assert len(PickleFile(saved({"state_dict": state}, tmp_path / "a.ckpt")).infos) == 13_000


def test_without_checksums(tmp_path):
    """Torch can leave checksums out; what stands in their place is none."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        path = saved({"w": torch.ones(3)}, tmp_path / "a.ckpt")
    finally:
        torch.serialization.set_crc32_options(before)
    assert list(PickleFile(path).infos) == ["w"]
