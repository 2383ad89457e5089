"""The linear map from latents to colours: what it explains, where it is kept, and whose it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.unit.pipeline.tiny import tiny_model
from tintype.checkpoints.load import BOX, load
from tintype.illustrate import previews
from tintype.illustrate.previews import (
    FILE,
    SD1,
    SDXL,
    LatentColours,
    fingerprint,
    fit_colours,
    latent_colours,
    preview,
    preview_images,
    read_colours,
    write_colours,
)
from tintype.models import Autoencoder, presets


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Linear(torch.nn.Module):
    """A decoder that is what the map assumes: each cell one colour, linear in its latent."""

    def __init__(self, matrix: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.matrix, self.bias = matrix, bias
        self.conv_in = self.conv_out = torch.nn.Conv2d(1, 1, 1)
        self.norm_out = torch.nn.GroupNorm(1, 1)

    def forward(self, latents):
        cells = torch.einsum("bchw,cr->brhw", latents, self.matrix) + self.bias[:, None, None]
        return cells.repeat_interleave(8, 2).repeat_interleave(8, 3)


def test_the_map_of_a_linear_decoder_is_found_exactly():
    sd = tiny_model()
    matrix, bias = torch.randn(4, 3) / 50, torch.tensor([0.1, -0.2, 0.3])
    sd.autoencoder.decoder = Linear(matrix, bias)
    torch.nn.init.eye_(sd.autoencoder.post_quant_conv.weight.data[..., 0, 0])
    torch.nn.init.zeros_(sd.autoencoder.post_quant_conv.bias)
    colours = fit_colours(sd)
    torch.testing.assert_close(
        torch.tensor(colours.matrix) * sd.autoencoder.config.scaling_factor, matrix, atol=1e-4, rtol=1e-3
    )
    torch.testing.assert_close(torch.tensor(colours.bias), bias, atol=1e-4, rtol=1e-3)
    assert colours.r2 > 0.9999


def test_a_preview_is_the_matrix_and_the_bias():
    colours = LatentColours(((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.5, 0.5, 0.5)), (0.1, 0.2, 0.3))
    latents = torch.randn(2, 4, 3, 5)
    pixels = preview(latents, colours)
    assert pixels.shape == (2, 3, 3, 5)
    expected = latents[:, :3] + 0.5 * latents[:, 3:] + torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    torch.testing.assert_close(pixels, expected)
    first, second = preview_images(latents, colours, factor=4)
    assert first.size == (20, 12)
    assert np.array(first).tolist() != np.array(second).tolist()


def test_the_box_has_a_map_of_its_own_that_explains_its_colours():
    sd = load(device="cpu", dtype=torch.float32)
    stored = read_colours(BOX / FILE)
    assert stored is not None and stored.fingerprint == fingerprint(sd.autoencoder), (
        "the box was trained anew: fit its map again, docs/studio.md says how"
    )
    assert latent_colours(sd) == stored
    assert stored.r2 > 0.8
    latents = sd.text2img("a lighthouse on a cliff", seed=1, steps=4).latents
    cells = F.avg_pool2d(sd.decode(latents).clamp(-1, 1), 8)
    error = (preview(latents, stored) - cells).square().mean()
    assert error < 0.3 * (cells - cells.mean((2, 3), keepdim=True)).square().mean()


@pytest.mark.parametrize(("config", "known"), [(presets.SD1_AUTOENCODER, SD1), (presets.SDXL_AUTOENCODER, SDXL)])
def test_the_families_need_no_fit(config, known):
    sd = tiny_model()
    with torch.device("meta"):
        sd.autoencoder = Autoencoder(config)
    assert latent_colours(sd) is known
    assert np.array(known.matrix).shape == (4, 3)


def test_a_fit_is_kept_in_the_cache_and_only_for_its_autoencoder(cache, monkeypatch):
    sd = tiny_model()
    fitted = latent_colours(sd)
    assert [path.stem for path in cache.rglob("*.json")] == [fitted.fingerprint]
    with monkeypatch.context() as patch:
        patch.setattr(previews, "fit_colours", lambda sd: pytest.fail("fitted again"))
        assert latent_colours(tiny_model()) == fitted
    torch.nn.init.normal_(sd.autoencoder.decoder.conv_in.weight)
    assert latent_colours(sd).fingerprint != fitted.fingerprint
    assert len(list(cache.rglob("*.json"))) == 2


def test_a_map_beside_the_model_is_taken_if_it_is_of_this_autoencoder(tmp_path):
    sd = tiny_model()
    sd.source = tmp_path
    own = LatentColours(SD1.matrix, r2=0.5, fingerprint=fingerprint(sd.autoencoder))
    write_colours(own, tmp_path / FILE)
    assert latent_colours(sd) == own
    write_colours(replace(own, fingerprint="another"), tmp_path / FILE)
    assert latent_colours(sd) != own


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"matrix": [[1]], "bias": [0, 0, 0], "r2": 1, "fingerprint": ""}'])
def test_a_damaged_file_is_no_map(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    assert read_colours(tmp_path / FILE) is None


def test_a_cache_that_cannot_be_written_is_no_error(cache):
    cache.write_text("a file where the folder should be")
    assert latent_colours(tiny_model()).r2 is not None
