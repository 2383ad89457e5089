"""Runs that start from a picture: img2img and inpaint."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tintype.diffusion import start_noise
from tintype.errors import ImageError, NotFiniteError, SettingsError, TintypeError
from tintype.images import to_tensor


def test_img2img_takes_the_pictures_size_and_the_last_steps(sd, picture):
    run = sd.img2img(picture, "a red boat", steps=10, strength=0.55, seed=1)
    whole = sd.text2img("a red boat", steps=10, seed=1)
    assert len(run) == 5  # int(10 * 0.55)
    assert run.plan.sigmas == whole.plan.sigmas[-6:]
    assert run.images[0].size == picture.size
    assert (run.settings.width, run.settings.height) == picture.size


def test_img2img_starts_from_the_mean_and_the_seeds_noise(sd, picture):
    run = sd.img2img(picture, "a red boat", steps=10, strength=0.5, seed=1, batch_size=2)
    step = next(iter(run))
    with torch.no_grad():
        x0 = sd.autoencoder.encode(to_tensor(picture)).mean * sd.autoencoder.config.scaling_factor
    assert torch.allclose(step.x, x0 + step.sigma * start_noise([1, 2], (4, 8, 9)), atol=1e-5)


@pytest.mark.parametrize(
    ("steps", "strength", "expected"),
    [(10, 1.0, 10), (10, 0.1, 1), (4, 0.99, 3), (50, 0.58, int(50 * 0.58)), (1, 1.0, 1)],
)
def test_how_many_steps_are_run(sd, picture, steps, strength, expected):
    assert len(sd.img2img(picture, "a boat", steps=steps, strength=strength)) == expected


def test_a_strength_that_leaves_no_step(sd, picture):
    with pytest.raises(SettingsError, match="no step") as caught:
        sd.img2img(picture, "a boat", steps=3, strength=0.3)
    assert len(sd.img2img(picture, "a boat", steps=3, strength=float(str(caught.value).split()[-1][:-1]))) == 1


def test_less_strength_stays_nearer(sd, picture):
    def distance(strength):
        run = sd.img2img(picture, "a boat", steps=20, strength=strength, seed=1)
        return float((run.latents - sd.encode(to_tensor(picture))).square().mean())

    assert distance(0.05) < distance(0.5) < distance(1.0)


def test_another_size_is_covered(sd, picture):
    run = sd.img2img(picture, "a boat", width=128, height=64, seed=1, strength=0.5)
    assert run.images[0].size == (128, 64)
    assert sd.img2img(picture, "a boat", height=80).settings.width == 72
    assert sd.img2img(Image.new("RGB", (33, 150)), "a boat").settings.height == 144


def test_kinds_of_pictures(sd, picture, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert sd.img2img(tmp_path / "turned.jpg", "a boat").settings.width == 64
    picture.putalpha(128)
    assert "transparent" in sd.img2img(picture, "a boat").notices[0]
    with pytest.raises(ImageError):
        sd.img2img(tmp_path / "none.png", "a boat")


def test_unmasked_pixels_are_bit_identical(sd, picture, mask):
    inside = np.asarray(mask) > 0
    for blur in (0, 3):
        run = sd.inpaint(picture, mask, "a red boat", seed=1, batch_size=2, mask_blur=blur)
        for image in run.images:
            assert np.array_equal(np.asarray(image)[~inside], np.asarray(picture)[~inside])
            assert (np.asarray(image)[inside] != np.asarray(picture)[inside]).mean() > 0.5


def test_unmasked_pixels_of_a_stopped_run_too(sd, picture, mask):
    run = sd.inpaint(picture, mask, "a red boat", seed=1)
    next(iter(run))
    run.stop()
    outside = np.asarray(mask) == 0
    assert np.array_equal(np.asarray(run.images[0])[outside], np.asarray(picture)[outside])


def test_outside_the_mask_every_estimate_is_the_original(sd, picture, mask):
    run = sd.inpaint(picture, mask, "a red boat", seed=1, sampler="euler_a")
    x0 = sd.encode(to_tensor(picture))
    for step in run:
        assert torch.equal(step.denoised[..., 0, :], x0[..., 0, :])
        assert not torch.equal(step.denoised[..., 4, 4], x0[..., 4, 4])


def test_inpainting_defaults_to_full_strength(sd, picture, mask):
    run = sd.inpaint(picture, mask, "a red boat", steps=7)
    assert (run.settings.strength, len(run)) == (1.0, 7)
    assert sd.img2img(picture, "a red boat").settings.strength < 1


def test_a_mask_at_another_scale_fits_and_one_of_another_shape_does_not(sd, picture, mask):
    small = sd.inpaint(picture, mask.resize((36, 32)), "a boat", mask_blur=0, seed=1)
    outside = np.asarray(mask) == 0
    assert np.array_equal(np.asarray(small.images[0])[outside], np.asarray(picture)[outside])
    with pytest.raises(ImageError, match="same shape"):
        sd.inpaint(picture, mask.resize((64, 64)), "a boat")


def test_a_mask_moves_with_its_picture(sd, picture, mask):
    """Both are cropped and scaled alike: at twice the size the square is where it was, twice as large."""
    run = sd.inpaint(picture, mask, "a boat", width=144, height=128, mask_blur=0, seed=1)
    changed = np.asarray(run.images[0]) != np.asarray(picture.resize((144, 128), Image.Resampling.LANCZOS))
    rows, columns = np.nonzero(changed.any(-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (32, 95, 40, 103)


def test_a_black_mask_returns_the_picture_and_says_so(sd, picture):
    run = sd.inpaint(picture, Image.new("L", picture.size), "a boat")
    assert run.images[0].tobytes() == picture.tobytes()
    assert any("no white" in notice for notice in run.notices)


def test_settings_repeat_a_run_with_the_same_picture_only(sd, picture, mask):
    run = sd.inpaint(picture, mask, "a red boat", sampler="euler_a")
    again = sd.run(run.settings, image=picture.copy(), mask=mask)
    assert again.settings == run.settings
    assert again.images[0].tobytes() == run.images[0].tobytes()
    with pytest.raises(SettingsError, match="not given"):
        sd.run(run.settings)
    with pytest.raises(SettingsError, match="another one"):
        sd.run(run.settings, image=picture.transpose(Image.Transpose.ROTATE_180), mask=mask)
    with pytest.raises(SettingsError, match="another one"):
        sd.run(run.settings, image=picture, mask=Image.new("L", mask.size, 255))


def test_words_for_pictures_without_a_picture(sd, picture, mask):
    with pytest.raises(SettingsError, match="strength"):
        sd.text2img("a boat", strength=0.5)
    with pytest.raises(SettingsError, match="mask_blur"):
        sd.img2img(picture, "a boat", mask_blur=2)
    from tintype.pipeline.settings import Settings

    with pytest.raises(SettingsError, match="no picture"):
        sd.run(Settings(prompt="a boat"), mask=mask)


def test_nan_from_the_encoder(own_sd, picture):
    with torch.no_grad():
        own_sd.autoencoder.quant_conv.bias[0] = float("nan")
    with pytest.raises(NotFiniteError, match="autoencoder"):
        _ = own_sd.img2img(picture, "a boat").latents


# The bundle


def test_encode_and_decode(sd, picture):
    latents = sd.encode(to_tensor(picture))
    assert (latents.shape, latents.dtype) == ((1, 4, 8, 9), torch.float32)
    assert sd.decode(latents).shape == (1, 3, 64, 72)
    noise = start_noise([1], (4, 8, 9))
    assert not torch.equal(sd.encode(to_tensor(picture), noise), latents)
    assert not sd.encode(to_tensor(picture)).requires_grad


def test_to_another_dtype_and_back(own_sd):
    before = {name: weight.clone() for name, weight in own_sd.unet.bfloat16().float().state_dict().items()}
    assert own_sd.to(dtype=torch.bfloat16) is own_sd
    assert own_sd.dtype == torch.bfloat16
    assert own_sd.text2img("a boat", seed=1).images[0].size == (64, 64)
    own_sd.to("cpu", torch.float32)
    assert own_sd.dtype == torch.float32
    assert all(torch.equal(weight, before[name]) for name, weight in own_sd.unet.state_dict().items())


def test_a_closed_model_says_so_and_has_no_weights(own_sd):
    run = own_sd.text2img("a boat", seed=1)
    next(iter(run))
    own_sd.close()
    own_sd.close()
    assert own_sd.unet.conv_in.weight.is_meta
    for use in (lambda: run.images, lambda: own_sd.text2img("a boat").images, lambda: own_sd.to("cpu")):
        with pytest.raises(TintypeError, match="closed"):
            use()
