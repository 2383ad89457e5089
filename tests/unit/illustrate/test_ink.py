from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from tintype.illustrate.figures.html import div, element
from tintype.illustrate.figures.ink import RAMPS, Film, channels, data_uri, difference, encode, heat, over, ramp, strip


@pytest.mark.parametrize("name", RAMPS)
def test_a_ramp_rises_in_lightness(name):
    colours = ramp(np.linspace(0, 1, 50), name).astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(colours) > 0).all()


def test_channels_are_tiles_two_in_a_row():
    latents = torch.zeros(4, 3, 5)
    latents[3] = 9.0
    image = np.asarray(channels(latents, bound=9.0))
    assert image.shape == (6, 10, 3)
    assert (image[3:, 5:] == RAMPS["pink"][-1]).all()
    assert (image[:3] == RAMPS["pink"][2]).all()


def test_heat_is_brightest_where_it_is_largest():
    values = torch.tensor([[0.0, 0.5], [1.0, 0.25]])
    assert np.asarray(heat(values)).sum(-1).argmax() == 2
    assert np.asarray(over(Image.new("RGB", (8, 8), "white"), values)).sum(-1)[7, 0] > 700


def test_equal_pictures_do_not_differ():
    image = Image.radial_gradient("L").convert("RGB")
    assert (np.asarray(difference(image, image)) == RAMPS["orange"][0]).all()


def test_a_strip_has_a_row_for_each_token():
    assert strip(torch.randn(7, 768)).size == (256, 7)


def test_a_picture_is_kept_without_loss_where_it_fits_and_else_within_its_bound():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8))
    media, content = encode(noise)
    assert media == "image/webp"
    assert (np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) == np.asarray(noise)).all()
    assert len(encode(noise, 5_000)[1]) <= 5_000 < len(content)


@pytest.mark.parametrize("count", [1, 9, 10, 11, 23])
def test_a_film_shows_every_frame(count):
    frames = [Image.new("RGB", (3, 2), (index, 0, 0)) for index in range(count)]
    film = Film.of(frames)
    for index in range(count):
        left, top = film.place(index)
        assert film.sheet.crop((left, top, left + 3, top + 2)).getcolors() == [(6, (index, 0, 0))]
    window = film.window("x", "a film", frame=count - 1)
    assert f'viewBox="{film.place(count - 1)[0]} {film.place(count - 1)[1]} 3 2"' in window


def test_a_data_uri_is_the_picture():
    uri = data_uri(Image.new("RGB", (4, 4), "red"))
    head, content = uri.split(",")
    assert head == "data:image/webp;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (4, 4)


def test_html_escapes_everything_that_is_not_markup():
    made = div("a", "<b>", ["&", None, 3], element("img", alt='"', src="x"), title="<", hidden=True, lang=None)
    assert made == '<div class="a" title="&lt;" hidden>&lt;b&gt;&amp;3<img alt="&#34;" src="x"></div>'
