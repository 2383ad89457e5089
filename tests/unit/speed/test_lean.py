"""Lean layers compute, bit for bit, what layers do whose weights were widened once, and stay lean while they do."""

from __future__ import annotations

import copy

import pytest
import torch

import tintype
from tests.unit.checkpoints.test_single_file import make
from tintype.checkpoints.single_file import save_single_file
from tintype.speed.held import bytes_of
from tintype.speed.lean import Lean, LeanConv2d


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A small model in fp16, some of whose layers are large enough."""
    path = tmp_path_factory.mktemp("lean") / "half.safetensors"
    save_single_file(make("SD 1"), path, dtype=torch.float16)
    return path


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("tintype.speed.lean.SMALLEST", 512)


def load(file, **options):
    return tintype.load(file, device="cpu", dtype=torch.float32, **options)


def networks(sd):
    return sd.autoencoder, *sd.networks.values()


def count(sd) -> int:
    return sum(isinstance(layer, Lean) for network in networks(sd) for layer in network.modules())


def latents(sd):
    return sd.text2img("a red boat", seed=3, steps=2, width=64, height=64).latents


@pytest.mark.parametrize("profile", ["plain", "fast"])
def test_a_picture_is_the_same_and_layers_stay_lean(file, profile):
    lean, full = load(file, lean=True).speed(profile), load(file, lean=False)
    lean_layers = count(lean)
    assert lean_layers > 50 and count(full) == 0 and lean.dtype == torch.float32
    expected = full.text2img("a red boat", seed=3, steps=2, width=64, height=64)
    run = lean.text2img("a red boat", seed=3, steps=2, width=64, height=64)
    if profile == "plain":
        assert torch.equal(run.latents, expected.latents)
        assert run.images[0].tobytes() == expected.images[0].tobytes()
    else:  # what is left to be packed is, and rounds otherwise
        assert torch.allclose(run.latents, expected.latents, atol=1e-4)
    assert count(lean) == lean_layers
    assert bytes_of(full.unet) / 2 < bytes_of(lean.unet) < 0.6 * bytes_of(full.unet)


def test_every_weight_comes_back(file):
    lean, full = load(file, lean=True), load(file, lean=False)
    layers = count(lean)
    for a, b in zip(networks(lean), networks(full), strict=True):
        copied = copy.deepcopy(a).state_dict()
        for name, tensor in b.state_dict().items():
            assert torch.equal(a.state_dict()[name], tensor) and torch.equal(copied[name], tensor)
    assert count(lean) == layers
    layer = next(layer for layer in lean.unet.modules() if isinstance(layer, Lean))
    assert layer.weight.dtype == torch.float32 and count(lean) == layers - 1
    lean.to(dtype=torch.float64)
    assert count(lean) == 0
    assert torch.equal(lean.unet.conv_in.weight, full.unet.conv_in.weight.double())


def test_gradients_reach_weights_that_want_them(file):
    unet = load(file, lean=True).unet
    layer = next(layer for layer in unet.modules() if isinstance(layer, LeanConv2d))
    layer.requires_grad_(True)
    x = torch.randn(1, layer.in_channels, 4, 4)
    layer(x).sum().backward()
    assert not isinstance(layer, Lean) and layer.weight.grad is not None


def test_short_memory_chooses_by_itself(file, monkeypatch):
    size = file.stat().st_size
    for whole, expected in ((4 * size - 1, True), (4 * size + 1, False), (None, False)):
        monkeypatch.setattr("tintype.checkpoints.load.whole_memory", lambda whole=whole: whole)
        sd = load(file)
        assert (count(sd) > 0) == expected and sd.origin.options == {}
    assert load(file, lean=False).origin.options == {"lean": False}
