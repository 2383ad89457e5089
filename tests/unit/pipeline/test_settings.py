"""Settings are checked when they are made, and survive JSON."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest

from tintype.errors import SettingsError
from tintype.pipeline.settings import Defaults, Settings

FULL = Settings(
    prompt=["a red boat", "a house \N{SNOWMAN}"],
    negative_prompt="moon",
    width=72,
    height=640,
    steps=33,
    guidance_scale=1 / 3,
    guidance_rescale=0.7,
    guidance_interval=(0.1, 5),
    seed=2**64 - 4,
    sampler="euler_a",
    eta=0.1,
    spacing=[14.6, 1.1, 0.0],
    batch_size=2,
    clip_skip=2,
    long_prompt="truncate",
    original_size=(1024, 768),
    crop=[0, 8],
    target_size=(1024, 1024),
    strength=0.3,
    mask_blur=3,
    image_sha256="ab",
    mask_sha256="cd",
    latents_sha256="ef",
)


def test_they_survive_json():
    assert Settings.from_dict(json.loads(json.dumps(FULL.to_dict()))) == FULL
    assert set(FULL.to_dict()) == {field.name for field in fields(Settings)}
    minimal = Settings(prompt="")
    assert Settings.from_dict(json.loads(json.dumps(minimal.to_dict()))) == minimal


def test_they_are_frozen_and_hashable():
    with pytest.raises(FrozenInstanceError):
        FULL.seed = 3
    assert hash(FULL) == hash(Settings.from_dict(FULL.to_dict()))


def test_seeds_count_up():
    assert FULL.seeds == tuple(range(2**64 - 4, 2**64))
    assert FULL.num_images == 4
    with pytest.raises(SettingsError):
        _ = Settings(prompt="a").seeds


def test_numbers_of_numpy_become_pythons():
    settings = Settings(prompt="a", width=np.int64(64), guidance_scale=np.float32(2))
    assert (type(settings.width), type(settings.guidance_scale)) == (int, float)


def test_gaps_are_filled():
    defaults = Defaults(width=128, height=136, steps=20, guidance_scale=4.0)
    settings = Settings(prompt="a", steps=3).filled(defaults)
    assert (settings.width, settings.height, settings.steps, settings.guidance_scale) == (128, 136, 3, 4.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt", 3),
        ("prompt", []),
        ("prompt", ["a", 3]),
        ("prompt", None),
        ("prompt", b"a"),
        ("negative_prompt", 3),
        ("negative_prompt", ["a", "b"]),
        ("width", 63),
        ("width", 56),
        ("width", 100),
        ("width", 64.0),
        ("width", True),
        ("width", "64"),
        ("height", -64),
        ("steps", 0),
        ("steps", 1001),
        ("steps", 2.5),
        ("guidance_scale", float("nan")),
        ("guidance_scale", float("inf")),
        ("guidance_scale", -1),
        ("guidance_scale", "7"),
        ("guidance_rescale", 1.1),
        ("guidance_rescale", None),
        ("guidance_interval", (1,)),
        ("guidance_interval", (2, 1)),
        ("guidance_interval", 3),
        ("guidance_interval", (0, float("nan"))),
        ("seed", -1),
        ("seed", 2**64),
        ("seed", 1.0),
        ("sampler", 3),
        ("eta", 1.5),
        ("spacing", 3),
        ("spacing", []),
        ("spacing", [1, 2]),
        ("spacing", [2, 1, -1]),
        ("spacing", [2, "a"]),
        ("batch_size", 0),
        ("batch_size", None),
        ("clip_skip", 0),
        ("long_prompt", "cut"),
        ("original_size", (1, 2, 3)),
        ("original_size", 5),
        ("crop", (-1, 0)),
        ("strength", 0),
        ("strength", 1.01),
        ("strength", -0.1),
        ("mask_blur", -1),
        ("image_sha256", 5),
        ("version", 2),
    ],
)
def test_what_cannot_be_is_told_with_its_name(name, value):
    with pytest.raises(SettingsError, match=name.split("_")[0]) as caught:
        Settings(**{"prompt": "a", name: value})
    assert len(str(caught.value)) > 30


def test_seeds_that_would_pass_the_end():
    assert Settings(prompt="a", seed=2**64 - 2, batch_size=2).seeds[-1] == 2**64 - 1
    with pytest.raises(SettingsError, match="count up"):
        Settings(prompt="a", seed=2**64 - 2, batch_size=3)


def test_what_is_read_must_be_known():
    with pytest.raises(SettingsError, match="guidance"):
        Settings.from_dict({"prompt": "a", "guidance": 3})
    with pytest.raises(SettingsError, match="no prompt"):
        Settings.from_dict({"width": 64})
    with pytest.raises(SettingsError, match="dictionary"):
        Settings.from_dict([])
    with pytest.raises(SettingsError, match="version"):  # of a newer version the names are not judged
        Settings.from_dict({"prompt": "a", "version": 2, "something": "new"})
