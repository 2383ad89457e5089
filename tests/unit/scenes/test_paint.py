import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from tintype.errors import SettingsError
from tintype.scenes import FULL, SMALL, Scene, draw, sample
from tintype.scenes.vocabulary import COLOURLESS, MANY, settings_of

SHIP = Scene("beach", "sunset", "cosmic", "pirate ship", "red", "middle", 1, "flat", 7)
SEA = Scene("sea", "day", "clear", None, None, None, 0, "flat", 3)


def change(first, second):
    """The mean absolute difference of two pictures, in 8-bit steps."""
    return np.abs(first.astype(int) - second.astype(int)).mean()


def subject_mask(scene, size=128):
    """Where the subject is: what differs from the same scene without it."""
    empty = replace(scene, subject=None, colour=None, place=None, count=0)
    difference = np.abs(draw(scene, size).astype(int) - draw(empty, size).astype(int)).max(axis=2)
    return difference > 30


@pytest.mark.parametrize("style", FULL.styles)
@pytest.mark.parametrize("size", [64, 100, 128, 256])
def test_pictures_have_the_size_asked_for_and_repeat(style, size):
    scene = replace(SHIP, style=style)
    picture = draw(scene, size)
    assert picture.shape == (size, size, 3) and picture.dtype == np.uint8 and picture.flags.c_contiguous
    assert np.array_equal(picture, draw(scene, size))


def test_another_seed_gives_another_picture():
    assert change(draw(SHIP), draw(replace(SHIP, seed=8))) > 0.5


def test_a_size_too_small_is_refused():
    with pytest.raises(SettingsError, match="16"):
        draw(SHIP, 8)


@pytest.mark.parametrize("style", FULL.styles)
def test_a_small_picture_is_the_large_one_made_smaller(style):
    scene = replace(SHIP, style=style)
    large = draw(scene, 256).reshape(128, 2, 128, 2, 3).mean(axis=(1, 3))
    assert change(large, draw(scene, 128)) < 4


@pytest.mark.parametrize("subject", FULL.subjects)
def test_every_subject_is_large_and_stands_out_at_all_times_of_day(subject):
    for hour in FULL.times:
        for setting in settings_of(subject)[:4]:  # at sea, with its mirror image
            scene = Scene(setting, hour, "clear", subject, None, "middle", 1, "flat", 2)
            rows = np.nonzero(subject_mask(scene))[0]
            assert len(rows) > 0.03 * 128**2, scene
            assert 0.18 < np.ptp(rows) / 128 < 0.85, scene


@pytest.mark.parametrize("subject", FULL.subjects)
def test_left_middle_and_right_are_apart(subject):
    setting = settings_of(subject)[0]
    for place, low, high in (("left", 0.15, 0.36), ("middle", 0.42, 0.58), ("right", 0.64, 0.85)):
        scene = Scene(setting, "day", "clear", subject, None, place, 1, "flat", 4)
        assert low < np.nonzero(subject_mask(scene))[1].mean() / 128 < high, place


@pytest.mark.parametrize("subject", sorted(set(FULL.subjects) - COLOURLESS))
def test_the_colours_of_a_subject_differ(subject):
    scene = Scene(settings_of(subject)[0], "day", "clear", subject, None, "middle", 1, "flat", 4)
    mask = subject_mask(scene)
    means = [draw(replace(scene, colour=colour), 128)[mask].mean(axis=0) for colour in (None, *FULL.colours)]
    for i, first in enumerate(means):
        for second in means[:i]:
            assert np.abs(first - second).max() > 8


@pytest.mark.parametrize("subject", sorted(MANY))
def test_two_and_three_are_told_apart_by_the_gaps_between_them(subject):
    setting = "lake" if subject == "sailing boat" else "snowfield"
    colour = None if subject in COLOURLESS else "red"
    for count in (2, 3):
        scene = Scene(setting, "day", "clear", subject, colour, None, count, "flat", 4)
        covered = np.append(subject_mask(scene).sum(axis=0) > 3, False)
        assert np.count_nonzero(covered[:-1] & ~covered[1:]) == count


@pytest.mark.parametrize("attribute", ["setting", "time", "sky", "style"])
def test_every_value_of_an_attribute_looks_different(attribute):
    values = {"setting": FULL.settings, "time": FULL.times, "sky": FULL.skies, "style": FULL.styles}[attribute]
    pictures = [draw(replace(SEA, **{attribute: value}), 128) for value in values]
    for i, first in enumerate(pictures):
        for second in pictures[:i]:
            assert change(first, second) > 3


def test_another_sky_leaves_the_land_as_it_was():
    clear, cosmic = (draw(replace(SEA, setting="desert", sky=sky), 128) for sky in ("clear", "rainbow"))
    assert np.array_equal(clear[100:], cosmic[100:])


def test_everything_that_can_be_sampled_can_be_drawn():
    rng = np.random.default_rng(0)
    for vocabulary in (SMALL, FULL):
        for _ in range(150):
            assert draw(sample(rng, vocabulary, held_out=None), 64).std() > 5


def test_at_least_25_pictures_a_second():
    rng = np.random.default_rng(1)
    scenes = [sample(rng) for _ in range(40)]
    draw(scenes[0])
    start = time.process_time()
    for scene in scenes:
        draw(scene, 256)
    assert len(scenes) / (time.process_time() - start) > 25


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_skia_and_torch_are_not_loaded_before_the_first_picture():
    code = "import sys, tintype.scenes; assert not {'skia', 'torch'} & set(sys.modules), 'loaded'"
    assert run(code).returncode == 0, run(code).stderr


def test_without_skia_the_message_says_what_to_install():
    code = f"import sys; sys.modules['skia'] = None; from tintype.scenes import Scene, draw; draw({SHIP!r})"
    result = run(code)
    assert "MissingExtraError" in result.stderr
    assert 'pip install "tintype[scenes]"' in result.stderr and "apt-get install" in result.stderr
