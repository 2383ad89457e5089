"""Which files of a folder are the weights: single, sharded, variants; and what is said when they are not there."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from tintype.errors import CheckpointError
from tintype.layouts.weight_files import open_weights, write_weights

STEM = "diffusion_pytorch_model"
TENSORS = {name: torch.randn(16) for name in "abcde"}


def same(weights) -> bool:
    found = dict(weights.tensors())
    return found.keys() == TENSORS.keys() and all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("max_bytes", [10**9, 150, 1])
def test_what_is_written_is_read(tmp_path, variant, max_bytes):
    write_weights(tmp_path, STEM, TENSORS, variant=variant, max_bytes=max_bytes)
    weights = open_weights(tmp_path, STEM, variant)
    assert same(weights)
    assert len(weights.files) == {10**9: 1, 150: 3, 1: 5}[max_bytes]


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_names_are_those_of_diffusers(tmp_path, variant):
    import diffusers

    autoencoder = diffusers.AutoencoderKL(block_out_channels=(32,))
    autoencoder.save_pretrained(tmp_path / "theirs", variant=variant, max_shard_size="200KB")
    weights = open_weights(tmp_path / "theirs", STEM, variant)
    assert len(weights.files) > 1
    assert weights.infos.keys() == autoencoder.state_dict().keys()
    (tmp_path / "ours").mkdir()
    write_weights(tmp_path / "ours", STEM, dict(weights.tensors()), variant=variant, max_bytes=200_000)
    (tmp_path / "ours" / "config.json").write_text((tmp_path / "theirs" / "config.json").read_text())
    again = diffusers.AutoencoderKL.from_pretrained(tmp_path / "ours", variant=variant)
    for name, tensor in autoencoder.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_older_name_of_the_index(tmp_path):
    write_weights(tmp_path, STEM, TENSORS, variant="fp16", max_bytes=150)
    (tmp_path / f"{STEM}.safetensors.index.fp16.json").rename(tmp_path / f"{STEM}.fp16.safetensors.index.json")
    assert same(open_weights(tmp_path, STEM, "fp16"))


def index_with(weight_map: object, folder) -> None:
    (folder / f"{STEM}.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


@pytest.mark.parametrize(
    "name",
    [
        "../outside.safetensors",
        "/etc/passwd",
        "/tmp/x.safetensors",
        "sub/x.safetensors",
        "..\\x.safetensors",
        "..",
        "",
        "x.txt",
        "x.safetensors\0",
    ],
)
def test_index_cannot_point_outside(tmp_path, name):
    save_file(TENSORS, tmp_path / "outside.safetensors")
    (tmp_path / "model").mkdir()
    index_with(dict.fromkeys(TENSORS, name), tmp_path / "model")
    with pytest.raises(CheckpointError, match="must be"):
        open_weights(tmp_path / "model", STEM)


@pytest.mark.parametrize("weight_map", [None, [], {"a": 1}, "x", {"a": ["x.safetensors"]}])
def test_index_that_makes_no_sense(tmp_path, weight_map):
    index_with(weight_map, tmp_path)
    with pytest.raises(CheckpointError, match=r"index\.json cannot be read"):
        open_weights(tmp_path, STEM)


def test_index_and_shards_disagree(tmp_path):
    save_file(TENSORS, tmp_path / "x.safetensors")
    for weight_map in (
        dict.fromkeys("abcd", "x.safetensors"),
        dict.fromkeys("abcdef", "x.safetensors"),
    ):
        index_with(weight_map, tmp_path)
        with pytest.raises(CheckpointError, match="disagree"):
            open_weights(tmp_path, STEM)
    index_with(dict.fromkeys("abc", "x.safetensors") | dict.fromkeys("de", "y.safetensors"), tmp_path)
    with pytest.raises(CheckpointError, match=r"y\.safetensors"):
        open_weights(tmp_path, STEM)
    save_file(TENSORS, tmp_path / "y.safetensors")
    with pytest.raises(CheckpointError, match="more than one"):
        open_weights(tmp_path, STEM)


def test_says_what_is_there_instead(tmp_path):
    with pytest.raises(CheckpointError, match="is missing; it should hold"):
        open_weights(tmp_path / "nowhere", STEM)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no weights"):
        open_weights(tmp_path, STEM)
    (tmp_path / "weights.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"the folder has weights\.bin"):
        open_weights(tmp_path, STEM)
    save_file(TENSORS, tmp_path / f"{STEM}.fp16.safetensors")
    with pytest.raises(CheckpointError, match="variant='fp16'"):
        open_weights(tmp_path, STEM)
    with pytest.raises(CheckpointError, match="variant='fp16'"):
        open_weights(tmp_path, STEM, "fp32")
    (tmp_path / f"{STEM}.fp16.safetensors").rename(tmp_path / f"{STEM}.safetensors")
    with pytest.raises(CheckpointError, match="has weights without a variant"):
        open_weights(tmp_path, STEM, "fp16")


@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize(("stem", "old"), [(STEM, STEM), ("model", "pytorch_model")])
def test_old_pickles_are_read_where_there_is_nothing_else(tmp_path, stem, old, variant):
    middle = f".{variant}" if variant else ""
    torch.save(TENSORS, tmp_path / f"{old}{middle}.bin")
    assert same(open_weights(tmp_path, stem, variant))
    write_weights(tmp_path, stem, {"new": torch.ones(1)}, variant=variant)
    assert open_weights(tmp_path, stem, variant).infos.keys() == {"new"}


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_old_pickles_in_shards(tmp_path, variant):
    import diffusers

    autoencoder = diffusers.AutoencoderKL(block_out_channels=(32,))
    autoencoder.save_pretrained(tmp_path, variant=variant, max_shard_size="200KB", safe_serialization=False)
    assert not list(tmp_path.glob("*.safetensors"))
    weights = open_weights(tmp_path, STEM, variant)
    assert len(weights.files) > 1
    state = autoencoder.state_dict()
    found = dict(weights.tensors())
    assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


def test_a_pickle_named_safetensors_is_read_and_told(tmp_path):
    torch.save(TENSORS, tmp_path / f"{STEM}.safetensors")
    weights = open_weights(tmp_path, STEM)
    assert same(weights)
    assert weights.notices == (f"{STEM}.safetensors is a pickle in spite of its name; it was read without running it.",)
