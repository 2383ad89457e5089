"""Tiled encoding and decoding: equal to the whole, without seams, and in bounded memory."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.contracts.repository import ROOT
from tests.unit.pipeline.tiny import tiny_model
from tests.unit.speed.peak_memory import autoencoder, picture
from tintype.errors import SettingsError
from tintype.models import Autoencoder
from tintype.speed import Tiling, decode, encode, tile
from tintype.speed.strips import Stored, Upsampled, normalization, strips

MB = 2**20
SHAPES = [(4, 4), (5, 7), (9, 2), (1, 3), (13, 1)]  # of latents


def psnr(ours: torch.Tensor, whole: torch.Tensor) -> float:
    """In dB, against the range of the whole."""
    error = (ours.double() - whole.double()).square().mean().item()
    return math.inf if error == 0 else 10 * math.log10((whole.max() - whole.min()).item() ** 2 / error)


@pytest.fixture(scope="module", params=[(4, 8, 8, 8), (4, 4, 8, 16), (8, 16)], ids=str)
def model(request) -> Autoencoder:
    """The true topology, narrow: with and without shortcuts, two levels and four."""
    return autoencoder(request.param, groups=4).double()


@pytest.mark.parametrize("size", [2, 16])  # strips of one row, and of several
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_decoding_in_tiles_is_decoding(model, shape, size):
    latents = torch.randn(1 + (shape[0] == 5), 4, *shape, dtype=torch.float64)  # (b 4 h w), b = 2 for one of them
    torch.testing.assert_close(tile.decode_in_tiles(model, latents, size), model.decode(latents), rtol=0, atol=1e-11)


@pytest.mark.parametrize("size", [2, 16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_encoding_in_tiles_is_encoding(model, shape, size):
    pixels = torch.rand(1 + (shape[0] == 5), 3, *(side * model.factor for side in shape), dtype=torch.float64) * 2 - 1
    ours, whole = tile.encode_in_tiles(model, pixels, size), model.encode(pixels)
    torch.testing.assert_close(ours.mean, whole.mean, rtol=0, atol=1e-11)
    torch.testing.assert_close(ours.logvar, whole.logvar, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("dtype", "least"), [(torch.float32, 100), (torch.bfloat16, 40)])
def test_precisions(dtype, least):
    model = autoencoder((16, 32, 32, 32), groups=8).to(dtype)
    pixels = picture(72, 40)
    latents = picture(9, 5)[:, [0, 1, 2, 0]] + torch.randn(1, 4, 9, 5)
    decoded = tile.decode_in_tiles(model, latents.to(dtype), 16)
    encoded = tile.encode_in_tiles(model, pixels.to(dtype), 16).mean
    assert decoded.dtype == encoded.dtype == dtype
    found = psnr(decoded, model.decode(latents.to(dtype))), psnr(encoded, model.encode(pixels.to(dtype)).mean)
    print(f"{dtype}: decode {found[0]:.1f} dB, encode {found[1]:.1f} dB")
    assert min(found) > least


def test_memory_format_is_kept():
    model = autoencoder((8, 16), groups=4).to(memory_format=torch.channels_last)
    latents = torch.randn(1, 4, 8, 12).to(memory_format=torch.channels_last)
    decoded = tile.decode_in_tiles(model, latents, 64)
    assert decoded.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(decoded, model.decode(latents), rtol=0, atol=1e-4)


def test_the_input_is_left_alone():
    model = autoencoder((8, 16), groups=4)
    latents, pixels = torch.randn(1, 4, 6, 6), torch.rand(1, 3, 12, 12)
    before = latents.clone(), pixels.clone()
    tile.decode_in_tiles(model, latents, 2)
    tile.encode_in_tiles(model, pixels, 2)
    assert torch.equal(latents, before[0]) and torch.equal(pixels, before[1])


def test_a_dark_and_a_bright_half_have_no_seam():
    """Statistics of each tile alone would pull both halves to one grey. The picture stands upright: tiles are rows."""
    model = autoencoder((16, 32, 32, 32), groups=8)
    latents = 0.3 * torch.randn(1, 4, 16, 8)
    latents[:, :, :8] -= 2
    latents[:, :, 8:] += 2
    whole = model.decode(latents)
    halves = torch.cat([model.decode(half) for half in latents.chunk(2, dim=2)], dim=2)
    shared = tile.decode_in_tiles(model, latents, 16)
    print(f"each alone {psnr(halves, whole):.1f} dB, shared {psnr(shared, whole):.1f} dB")
    assert psnr(halves, whole) < 30
    error = (shared - whole).abs().amax(dim=(0, 1, 3))  # (H) of each row of pixels
    assert error.max() < 1e-4 * whole.std()


def test_statistics_do_not_suffer_from_a_large_mean():
    norm = torch.nn.GroupNorm(2, 4)
    x = 1000 + torch.randn(1, 4, 50, 20)
    wanted = torch.nn.functional.group_norm(x.double(), 2).float()
    found = normalization(norm, Stored(x), budget=300)(x)
    assert (found - wanted).abs().max() < 5e-3  # x itself is rounded to 6e-5, x * scale + shift to as much again


def test_rows_of_an_upsampled_map():
    upsample = tile.Upsample(3)
    below = torch.randn(1, 3, 5, 4)
    whole = upsample(below, size=(10, 8))
    rows = Upsampled(upsample, below)
    assert rows.shape == whole.shape
    for start in range(10):
        for stop in range(start + 1, 11):
            torch.testing.assert_close(rows.rows(start, stop), whole[:, :, start:stop])


@pytest.mark.parametrize(("height", "numbers", "budget"), [(7, 10, 30), (7, 10, 5), (1, 1, 100), (64, 8, 511)])
def test_strips_cover_every_row_once(height, numbers, budget):
    found = list(strips(height, numbers, budget))
    assert [row for start, stop in found for row in range(start, stop)] == list(range(height))
    lengths = [stop - start for start, stop in found]
    assert max(lengths) * numbers <= max(budget, numbers) and max(lengths) - min(lengths) <= 1


def test_which_pictures_are_large():
    assert not Tiling().takes(768, 768)
    assert Tiling().takes(1024, 1024) and Tiling().takes(512, 1536)
    assert Tiling(above=0).takes(64, 64)
    for wrong in ({"size": 63}, {"above": -1}):
        with pytest.raises(SettingsError):
            Tiling(**wrong)


def test_small_pictures_and_no_tiling_are_whole():
    model = autoencoder((8, 16), groups=4)
    latents, pixels = torch.randn(1, 4, 40, 40), torch.rand(1, 3, 80, 80)
    for tiling in (None, Tiling()):
        assert torch.equal(decode(model, latents, tiling), model.decode(latents))
        assert torch.equal(encode(model, pixels, tiling).mean, model.encode(pixels).mean)
    parts = Tiling(size=64, above=64)
    assert torch.equal(decode(model, latents, parts), tile.decode_in_tiles(model, latents, 64))
    assert torch.equal(encode(model, pixels, parts).mean, tile.encode_in_tiles(model, pixels, 64).mean)


def test_a_model_takes_large_pictures_apart_by_itself(monkeypatch):
    sd, taken = tiny_model(), []
    assert sd.tiling == Tiling()
    sd.tiling = replace(sd.tiling, above=96)
    for name in ("encode_in_tiles", "decode_in_tiles"):
        original = getattr(tile, name)
        monkeypatch.setattr(tile, name, lambda *given, f=original, name=name: taken.append(name) or f(*given))
    small, large = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 13, 12)
    sd.decode(small)
    sd.encode(torch.zeros(1, 3, 64, 64))
    assert not taken
    tiled = sd.decode(large)
    sd.encode(torch.zeros(1, 3, 104, 96))
    assert taken == ["decode_in_tiles", "encode_in_tiles"]
    sd.tiling = None
    torch.testing.assert_close(sd.decode(large), tiled, rtol=0, atol=1e-4)
    assert len(taken) == 2


def measured(folder: Path, way: str, height: int, width: int, *options: object, size: int | None = None):
    """In a process of its own: its peak in bytes, and the result."""
    out = folder / f"{way}-{size}.safetensors"
    tiles = () if size is None else ("--size", size)
    words = [way, height, width, *options, *tiles, "--out", out]
    command = [sys.executable, "-m", "tests.unit.speed.peak_memory", *map(str, words)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MALLOC_MMAP_THRESHOLD_": str(MB)}  # glibc: give blocks back
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    print(way, f"{height}x{width}", *options, *(tiles or ("whole",)), done.stdout.strip())
    return json.loads(done.stdout)["peak"], load_file(out)["out"]


def bound(way: str, height: int, width: int, channels: tuple[int, ...], size: int = 256) -> float:
    """What tile.py states, in fp32: the maps that are kept, and a few strips; and small blocks that are not told."""
    kept = 2 * channels[0] + (channels[1] / 4 if way == "decode" else 0)
    return 4 * (height * width * kept + 6 * size**2 * channels[0]) + 16 * MB


def check_against_whole(folder: Path, way: str, height: int, width: int, channels: tuple[int, ...], *options) -> None:
    options = ("--channels", *channels, *options)
    peak_whole, whole = measured(folder, way, height, width, *options)
    peak, tiled = measured(folder, way, height, width, *options, size=256)
    print(f"{psnr(tiled, whole):.1f} dB, {peak / peak_whole:.2f} of the whole's memory")
    assert psnr(tiled, whole) > 100
    assert peak <= bound(way, height, width, channels)
    assert peak < 0.6 * peak_whole


linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from /proc, on Linux")


@linux
@pytest.mark.proof
@pytest.mark.parametrize("way", ["decode", "encode"])
@pytest.mark.parametrize(
    ("height", "width", "channels"), [(1024, 1024, (16, 32, 32, 32)), (2048, 1024, (8, 16, 16, 16))], ids=str
)
def test_large_pictures(tmp_path, way, height, width, channels):
    check_against_whole(tmp_path, way, height, width, channels, "--groups", 8, "--layers", 1)


@linux
@pytest.mark.proof
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("way", ["decode", "encode"])
@pytest.mark.parametrize(
    ("height", "width", "channels"), [(1024, 1024, (128, 256, 512, 512)), (2048, 1024, (64, 128, 256, 256))], ids=str
)
def test_large_pictures_at_the_width_of_stable_diffusion(tmp_path, way, height, width, channels):
    """2048x1024 at half the width: the whole network at its full width would take 8 GB and half an hour."""
    check_against_whole(tmp_path, way, height, width, channels)


@linux
@pytest.mark.proof
@pytest.mark.timeout(7200)
def test_the_largest_decoding_in_tiles(tmp_path):
    peak, pixels = measured(tmp_path, "decode", 2048, 1024, size=256)
    assert pixels.shape == (1, 3, 2048, 1024) and pixels.isfinite().all()
    assert peak <= bound("decode", 2048, 1024, (128, 256, 512, 512))
