"""Pictures of every kind come in as upright 8-bit RGB, and go out as they came."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from tintype import images
from tintype.errors import ImageError
from tintype.images import (
    cover,
    feather,
    mask_to_latents,
    mask_to_tensor,
    paste,
    read_mask,
    read_picture,
    size_on_grid,
    to_image,
    to_tensor,
)


def corners(width: int = 30, height: int = 20) -> Image.Image:
    """Red above left, green above right, blue below left, white below right."""
    image = Image.new("RGB", (width, height), "white")
    image.paste("red", (0, 0, width // 2, height // 2))
    image.paste("lime", (width // 2, 0, width, height // 2))
    image.paste("blue", (0, height // 2, width // 2, height))
    return image


def as_file(image: Image.Image, format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


ROTATIONS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", ROTATIONS)
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_exif_rotation(orientation, format):
    upright = corners()
    stored = upright if ROTATIONS[orientation] is None else upright.transpose(ROTATIONS[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if format == "JPEG" else {}
    read = read_picture(as_file(stored, format, exif=exif, **options)).rgb
    assert read.size == upright.size
    difference = np.asarray(read, dtype=int) - np.asarray(upright, dtype=int)
    assert np.abs(difference).max() <= (0 if format == "PNG" else 12)


def test_transparency_is_laid_on_white_and_told():
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    image.putpixel((1, 1), (255, 0, 0, 255))
    image.putpixel((2, 2), (0, 0, 0, 128))
    read = read_picture(as_file(image))
    assert read.rgb.getpixel((0, 0)) == (255, 255, 255)
    assert read.rgb.getpixel((1, 1)) == (255, 0, 0)
    assert read.rgb.getpixel((2, 2)) == (127, 127, 127)
    assert "transparent" in read.notices[0]


def test_an_alpha_channel_that_hides_nothing_is_not_mentioned():
    assert read_picture(Image.new("RGBA", (8, 8), (1, 2, 3, 255))).notices == ()


@pytest.mark.parametrize("mode", ["LA", "PA"])
def test_other_modes_with_alpha(mode):
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0)).convert(mode)
    assert read_picture(image).rgb.getpixel((0, 0)) == (255, 255, 255)


def test_a_transparent_colour_of_a_palette():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((0, 0), 0)
    read = read_picture(as_file(image, transparency=0))
    assert read.rgb.getpixel((0, 0)) == (255, 255, 255)
    assert read.rgb.getpixel((1, 1)) == (0, 255, 0)


def test_sixteen_bit_grey():
    levels = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    read = np.asarray(read_picture(as_file(Image.fromarray(levels))).rgb)
    assert np.array_equal(read[..., 0], np.rint(levels / 257))
    assert np.array_equal(read[..., 0], read[..., 2])


def test_sixteen_bit_colour():
    """Written by hand: Pillow does not write 16 bits of colour."""
    rows = b"".join(b"\0" + struct.pack(">3H", 65535, 32768, 257) * 8 for _ in range(8))

    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">2I5B", 8, 8, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
    assert read_picture(png).rgb.getpixel((3, 3)) == (255, 128, 1)


def test_floats_of_one():
    image = Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8))
    assert image.mode == "F"
    read = read_picture(image).rgb
    assert read.getpixel((0, 0)) == (0, 0, 0)
    assert read.getpixel((7, 7)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV"])
def test_other_modes(mode):
    image = Image.new("RGB", (9, 7), "white").convert(mode)
    read = read_picture(image)
    assert (read.rgb.mode, read.rgb.size) == ("RGB", (9, 7))
    assert min(read.rgb.getpixel((4, 4))) >= 250


def test_the_callers_image_is_not_changed():
    image = corners()
    before = image.tobytes()
    exif = image.getexif()
    exif[0x0112] = 6
    assert read_picture(image).rgb.size == (20, 30)
    assert image.tobytes() == before
    assert image.size == (30, 20)


def test_the_hash_is_of_the_pixels(tmp_path):
    corners().save(tmp_path / "a.png")
    corners().save(tmp_path / "a.bmp")
    hashes = {read_picture(source).sha256 for source in (tmp_path / "a.png", str(tmp_path / "a.bmp"), corners())}
    assert len(hashes) == 1
    assert read_picture(corners(20, 30)).sha256 not in hashes
    flat = [Image.new("RGB", size) for size in ((4, 9), (9, 4))]
    assert read_picture(flat[0]).sha256 != read_picture(flat[1]).sha256


# What cannot be read


def bomb() -> bytes:
    """A PNG of a few bytes that says it has a hundred thousand times a hundred thousand pixels."""

    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">2I5B", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(b"\0" * 1000))


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("no/such/file.png", "no file"),
        ("/", "cannot be read|no file"),
        (b"", "not a picture"),
        (b"GIF89a", "cannot be read|not a picture"),
        (b"<html></html>", "not a picture"),
        (as_file(corners(200, 200))[:200], "cannot be read"),
        (bomb(), "pixels"),
        (Image.new("RGB", (0, 8)), "no pixels"),
        (np.zeros((8, 8, 3)), "ndarray"),
        (None, "NoneType"),
    ],
)
@pytest.mark.parametrize("read", [read_picture, read_mask])
def test_what_cannot_be_read(source, what, read):
    with pytest.raises(ImageError, match=what):
        read(source)


def test_a_picture_above_our_own_bound(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    with pytest.raises(ImageError, match="30x20"):
        read_picture(corners())


# Sizes


@pytest.mark.parametrize(
    ("size", "expected"),
    [((64, 64), (64, 64)), ((71, 137), (64, 136)), ((10, 500), (64, 496)), ((513, 511), (512, 504))],
)
def test_sizes_are_rounded_down_to_the_grid(size, expected):
    assert size_on_grid(Image.new("RGB", size)) == expected


def test_a_few_pixels_too_many_are_cut_and_not_resampled():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (71, 77, 3), dtype=np.uint8)
    fitted = cover(Image.fromarray(pixels), 72, 64)
    assert np.array_equal(np.asarray(fitted), pixels[3:67, 2:74])


@pytest.mark.parametrize("size", [(30, 20), (400, 70), (64, 128), (65, 64)])
def test_cover_fills_the_size_without_distortion(size):
    # A disc stays round.
    image = Image.new("RGB", size, "white")
    side = min(size)
    disc = Image.radial_gradient("L").resize((side, side)).point(lambda value: 255 if value < 128 else 0)
    image.paste("black", ((size[0] - side) // 2, (size[1] - side) // 2), disc)
    fitted = cover(image, 128, 128)
    assert fitted.size == (128, 128)
    dark = np.asarray(fitted.convert("L")) < 128
    assert abs(int(dark.any(0).sum()) - int(dark.any(1).sum())) <= 4
    assert dark[64, 64]


# Tensors


def test_every_level_survives_the_way_in_and_out():
    levels = np.arange(256, dtype=np.uint8)
    image = Image.fromarray(np.stack([levels.reshape(16, 16)] * 3, -1))
    tensor = to_tensor(image)
    assert tensor.shape == (1, 3, 16, 16)
    assert (float(tensor.min()), float(tensor.max())) == (-1.0, 1.0)
    assert to_image(tensor[0]).tobytes() == image.tobytes()
    assert to_image(tensor[0] * 3).getextrema()[0] == (0, 255)  # beyond the ends it is clamped


def test_channels_and_axes_are_in_place():
    tensor = to_tensor(corners())
    assert tensor[0, :, 0, 0].tolist() == [1, -1, -1]
    assert tensor[0, :, 0, -1].tolist() == [-1, 1, -1]
    assert tensor[0, :, -1, 0].tolist() == [-1, -1, 1]


# Masks


def test_masks_are_cut_at_one_half():
    grey = Image.fromarray(np.array([[0, 127, 128, 255]], dtype=np.uint8))
    assert np.asarray(read_mask(grey)).tolist() == [[0, 0, 255, 255]]
    assert mask_to_tensor(read_mask(grey)).tolist() == [[[[0, 0, 1, 1]]]]


def test_masks_of_other_kinds():
    assert read_mask(Image.new("RGB", (8, 8), "white")).getextrema() == (255, 255)
    assert read_mask(Image.new("1", (8, 8), 1)).getextrema() == (255, 255)
    assert read_mask(Image.new("RGBA", (8, 8), (255, 255, 255, 0))).getextrema() == (0, 0)
    assert read_mask(Image.fromarray(np.full((8, 8), 40000, np.uint16))).getextrema() == (255, 255)


def test_one_white_pixel_is_a_cell_of_the_latents():
    mask = torch.zeros(1, 1, 64, 64)
    mask[0, 0, 9, 17] = 1
    cells = mask_to_latents(mask)
    assert cells.shape == (1, 1, 8, 8)
    assert cells.sum() == 1
    assert cells[0, 0, 1, 2] == 1


@pytest.mark.parametrize("width", [0, 1, 4, 50])
def test_feathering_lies_wholly_inside(width):
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 20:45, 10:50] = 1
    weight = feather(mask, width)
    assert weight[mask == 0].abs().max() == 0
    assert 0 < weight[mask == 1].min() <= weight.max() == 1
    if width:
        assert weight[0, 0, 20, 30] < weight[0, 0, 21, 30] <= weight[0, 0, 32, 30]


def test_a_thin_mask_is_still_repainted_in_full():
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 30, :] = 1
    assert torch.equal(feather(mask, 8), mask)


def test_a_mask_of_everything_has_no_seam_at_the_border():
    mask = torch.ones(1, 1, 64, 64)
    assert torch.equal(feather(mask, 4), mask)


def test_paste_keeps_and_replaces_exactly():
    rng = np.random.default_rng(0)
    new, old = (Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(2))
    weight = torch.zeros(1, 1, 8, 8)
    weight[..., 4:] = 1
    weight[..., 0, 0] = 0.5
    pasted, new, old = (np.asarray(image, dtype=int) for image in (paste(new, old, weight), new, old))
    assert np.array_equal(pasted[:, 4:], new[:, 4:])
    assert np.array_equal(pasted[1:, :4], old[1:, :4])
    assert np.abs(pasted[0, 0] - (new[0, 0] + old[0, 0]) / 2).max() <= 0.5
