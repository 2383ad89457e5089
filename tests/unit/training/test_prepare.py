"""Pictures made ready: buckets, crops, flips, what cannot be read, sharing the work, and using it again or not."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tintype.errors import SettingsError, TrainingError
from tintype.models import Autoencoder, AutoencoderConfig
from tintype.training import prepare
from tintype.training.buckets import Buckets, cover, crop
from tintype.training.draws import WINDOW, Draw, visits
from tintype.training.latents import encode_pictures
from tintype.training.prepare import Preparation, prepare_latents, prepare_pixels, variants
from tintype.training.shards import Shards
from tintype.training.sources import open_source
from tintype.training.stored import StoredLatents, StoredPictures

SIZES = [(64, 64), (90, 40), (33, 70), (128, 128), (64, 50), (200, 190)]


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, (width, height) in enumerate(SIZES):
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"noise {number}\nthe other words")
    return folder


@pytest.fixture(scope="module")
def autoencoder():
    torch.manual_seed(0)
    return Autoencoder(AutoencoderConfig(channels=(8, 16), layers_per_block=1, norm_groups=4)).eval()


@given(st.integers(16, 4000), st.integers(16, 4000))
def test_a_bucket_has_the_area_and_about_the_shape(width, height):
    buckets = Buckets.of_area(512, 64)
    found = buckets.nearest(width, height)
    assert found[0] % 64 == found[1] % 64 == 0
    assert 0.75 * 512**2 < found[0] * found[1] <= 512**2
    wanted = min(2.0, max(0.5, width / height))
    assert 0.8 < (found[0] / found[1]) / wanted < 1.25
    assert buckets.nearest(height, width) in {found[::-1], found}


def test_a_size_off_the_grid():
    with pytest.raises(SettingsError, match="multiple of 64"):
        Buckets.of_area(500, 64)


def test_cover_and_crop():
    image = Image.fromarray(np.arange(100 * 50 * 3, dtype=np.uint32).reshape(50, 100, 3).astype(np.uint8))
    covering = cover(image, (32, 32))
    assert covering.shape == (3, 32, 64)
    middle, corner = crop(covering, (32, 32))
    assert corner == (0, 16) and torch.equal(middle, covering[:, :, 16:48])
    corners = {crop(covering, (32, 32), Draw(0, epoch, 0).rng("crop"))[1] for epoch in range(40)}
    assert len(corners) > 10 and all(top == 0 and 0 <= left <= 32 for top, left in corners)


def test_latents_are_those_of_the_crops(pictures, autoencoder, tmp_path):
    source = open_source(pictures)
    how = Preparation(size=64, step=16, crops=2, flip=True)
    assert list(prepare_latents(tmp_path / "latents", source, how, autoencoder)) == [6]
    shards = Shards.open(tmp_path / "latents")
    stored = StoredLatents(shards, 0.5, factor=2)
    assert stored.shapes is not None and len(set(stored.shapes)) > 1
    for index in range(len(SIZES)):
        width, height = shards.records[index]["size"]
        latents = shards.tensor("latents", index)
        assert latents.shape == (4, 4, height // 2, width // 2)
        image = Image.open(pictures / f"{index}.png")
        pixels, _ = variants(image, (width, height), how, index)
        assert torch.equal(pixels[0].flip(-1), pixels[1])
        expected = encode_pictures(pixels, autoencoder)
        torch.testing.assert_close(latents.float(), expected.float(), atol=0.02, rtol=0.02)
        seen = [stored.visit(Draw(0, epoch, index)) for epoch in range(12)]
        assert {each.caption for each in seen} == {f"noise {index}", "the other words"}
        assert all(any(torch.equal(each.x0, 0.5 * one.float()) for one in latents) for each in seen)
        assert len({each.x0.sum().item() for each in seen}) > 1
        assert seen[0].sizes[:2] == (image.height, image.width)


def test_machines_share_the_work(pictures, autoencoder, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "PER_SHARD", 2)
    source, how = open_source(pictures), Preparation(size=64, step=16)
    list(prepare_latents(tmp_path / "alone", source, how, autoencoder))
    for part in (1, 0):
        list(prepare_latents(tmp_path / "shared", source, how, autoencoder, part=part, parts=2))
    for name in ("00000", "00001", "00002"):
        for ending in (".safetensors", ".jsonl"):
            one, two = (tmp_path / folder / (name + ending) for folder in ("alone", "shared"))
            assert one.read_bytes() == two.read_bytes()


def test_used_again_where_it_is_the_same_and_refused_where_not(pictures, autoencoder, tmp_path):
    source, how, folder = open_source(pictures), Preparation(size=64), tmp_path / "latents"
    list(prepare_latents(folder, source, how, autoencoder))
    stamp = (folder / "00000.safetensors").stat().st_mtime_ns
    list(prepare_latents(folder, source, how, autoencoder))
    assert (folder / "00000.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(TrainingError, match="flip was False and is True"):
        list(prepare_latents(folder, source, Preparation(size=64, flip=True), autoencoder))
    other = Autoencoder(autoencoder.config).eval()
    with pytest.raises(TrainingError, match="autoencoder was"):
        list(prepare_latents(folder, source, how, other))
    (pictures / "0.txt").write_text("other words")
    with pytest.raises(TrainingError, match="pictures was"):
        list(prepare_latents(folder, open_source(pictures), how, autoencoder))


def test_broken_pictures_are_listed_and_too_many_end_the_work(pictures, tmp_path):
    (pictures / "1.png").write_bytes(b"no picture")
    (pictures / "4.png").write_bytes((pictures / "4.png").read_bytes()[:500])
    source, folder = open_source(pictures), tmp_path / "pixels"
    with pytest.raises(TrainingError, match=r"1 of 6 pictures .* more than 5%.*1\.png \(.*not a picture.*max_broken"):
        list(prepare_pixels(folder, source, Preparation(size=64)))
    list(prepare_pixels(folder, source, Preparation(size=64, max_broken=0.4)))
    listed = [json.loads(line) for line in (folder / "skipped.jsonl").read_text().splitlines()]
    assert [record["skipped"] for record in listed] == ["1.png", "4.png"]
    assert all(record["why"] for record in listed)
    stored = StoredPictures(folder)
    assert [stored.record(index)["name"] for index in range(len(stored))] == ["0.png", "2.png", "3.png", "5.png"]
    with pytest.raises(TrainingError, match="2 of 6"):
        list(prepare_pixels(folder, source, Preparation(size=64)))


def test_pixels_are_cropped_and_flipped_by_the_visit(pictures, tmp_path):
    list(prepare_pixels(tmp_path / "pixels", open_source(pictures), Preparation(size=32)))
    stored = StoredPictures(tmp_path / "pixels", flip=True)
    seen = [stored.pixels(Draw(0, epoch, 1)) for epoch in range(30)]
    assert {tuple(each.shape) for each in seen} == {(3, 32, 32)}
    assert torch.equal(seen[3], stored.pixels(Draw(0, 3, 1)))
    assert len({each.float().mul(torch.arange(32.0)).sum().item() for each in seen}) > 15


def test_repeats_are_visits_of_their_own(pictures, tmp_path):
    pictures.rename(pictures.with_name("3_noise"))
    list(prepare_pixels(tmp_path / "pixels", open_source(tmp_path), Preparation(size=32)))
    assert len(StoredPictures(tmp_path / "pixels")) == 3 * len(SIZES)


def test_pictures_of_one_shape_come_together():
    rng = np.random.default_rng(0)
    shapes = rng.integers(0, 5, 2000).tolist()
    walk = visits(0, 2000, 0, 4000, shapes)
    for epoch in (walk[:2000], walk[2000:]):
        assert sorted(draw.index for draw in epoch) == list(range(2000))
    assert visits(0, 2000, 777, 2222, shapes) == walk[777:2222]
    mixed = sum(len({shapes[d.index] for d in walk[i : i + 8]}) > 1 for i in range(0, 2000, 8))
    assert mixed <= 5 * (2000 // WINDOW + 1)
