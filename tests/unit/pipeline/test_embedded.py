"""Texts inside pictures: written and read in three formats, also as others write them, and whatever is damaged."""

from __future__ import annotations

import io
import json
import random
import struct

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tintype.errors import ImageError, TintypeError
from tintype.pipeline.embedded import EXIF_IFD, MAKER_NOTE, USER_COMMENT, fits, read_embedded
from tintype.pipeline.outputs import save_image
from tintype.pipeline.recollection import recall

IMAGE = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
RECORD = {
    "index": 0,
    "tintype": "0.1.0",
    "settings": {"prompt": "海 \N{SNOWMAN}", "seed": 7, "width": 64, "height": 64},
}
TEXT = "a boat\nNegative prompt: night\nSteps: 3, Sampler: Euler, CFG scale: 7, Seed: 7, Size: 64x64"
SUFFIXES = (".png", ".jpg", ".webp")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "text", [TEXT, "海边 \N{PARROT} é\n" + TEXT, "half \ud800" + TEXT], ids=["ascii", "all", "half"]
)
def test_both_texts_come_back(tmp_path, suffix, text):
    found = read_embedded(save_image(IMAGE, tmp_path / f"a{suffix}", RECORD, text))
    assert found.record == RECORD
    assert found.parameters == text.replace("\ud800", "?")
    assert (found.program, found.notices) == (None, ())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_picture_without_texts_has_none(tmp_path, suffix):
    found = read_embedded(save_image(IMAGE, tmp_path / f"a{suffix}"))
    assert (found.record, found.parameters, found.program, found.notices) == (None, None, None, ())


def exif_by_hand(comment: bytes, order: str) -> bytes:
    """An EXIF block of a UserComment alone, in either order of bytes, as piexif lays it out."""
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    first = struct.pack(order + "HHHIII", 1, 0x8769, 4, 1, 26, 0)
    inner = struct.pack(order + "HHHIII", 1, 0x9286, 7, len(comment), 44, 0)
    return b"Exif\0\0" + mark + struct.pack(order + "I", 8) + first + inner + comment


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + TEXT.encode("utf-16-be"),  # piexif, and so the web UI and Forge
        b"UNICODE\0" + TEXT.encode("utf-16-le"),
        b"UNICODE\0" + TEXT.encode("utf-16"),
        b"ASCII\0\0\0" + TEXT.encode(),
        TEXT.encode(),
    ],
    ids=["be", "le", "bom", "ascii", "bare"],
)
def test_comments_as_others_write_them(tmp_path, suffix, order, comment):
    IMAGE.save(tmp_path / f"a{suffix}", exif=exif_by_hand(comment, order))
    found = read_embedded(tmp_path / f"a{suffix}")
    assert (found.parameters, found.notices) == (TEXT, ())


def test_chinese_comments_in_either_order(tmp_path):
    for name in ("utf-16-be", "utf-16-le"):
        IMAGE.save(tmp_path / "a.jpg", exif=exif_by_hand(b"UNICODE\0" + ("海边的小船\n" + TEXT).encode(name), ">"))
        assert read_embedded(tmp_path / "a.jpg").parameters == "海边的小船\n" + TEXT


def test_a_jpeg_keeps_what_it_has_room_for_and_says_so(tmp_path):
    long = TEXT + ", Note: " + "x" * 40_000
    assert fits(RECORD, TEXT) is None
    assert "A1111's text" in str(fits(RECORD, long))
    assert "settings" in str(fits({"settings": "x" * 70_000}, TEXT))
    found = read_embedded(save_image(IMAGE, tmp_path / "a.jpg", RECORD, long))
    assert (found.record, found.parameters) == (RECORD, None)
    found = read_embedded(save_image(IMAGE, tmp_path / "a.webp", RECORD, long))
    assert (found.record, found.parameters) == (RECORD, long)


@pytest.mark.parametrize(
    ("texts", "program"),
    [
        ({"prompt": "{}", "workflow": "{}"}, "ComfyUI"),
        ({"invokeai_metadata": "{}", "invokeai_graph": "{}"}, "InvokeAI"),
        ({"fooocus_scheme": "fooocus", "parameters": '{"prompt": "a"}'}, "Fooocus"),
        ({"parameters": '{"sui_image_params": {"prompt": "a"}}'}, "SwarmUI"),
        ({"Software": "NovelAI", "Comment": "{}"}, "NovelAI"),
    ],
)
def test_other_programs_are_named(tmp_path, texts, program):
    info = PngInfo()
    for key, value in texts.items():
        info.add_text(key, value)
    IMAGE.save(tmp_path / "a.png", pnginfo=info)
    assert read_embedded(tmp_path / "a.png").program == program
    with pytest.raises(ImageError, match=program):
        recall(tmp_path / "a.png")


def test_comfyui_in_webp(tmp_path):
    tags = Image.Exif()
    tags[0x0110], tags[0x010F] = "prompt:{}", "workflow:{}"
    IMAGE.save(tmp_path / "a.webp", exif=tags)
    with pytest.raises(ImageError, match="ComfyUI"):
        recall(tmp_path / "a.webp")


def test_fooocus_in_the_web_uis_words_is_read(tmp_path):
    info = PngInfo()
    info.add_text("parameters", TEXT)
    info.add_text("fooocus_scheme", "a1111")
    IMAGE.save(tmp_path / "a.png", pnginfo=info)
    assert recall(tmp_path / "a.png").settings.steps == 3


def hostile_records() -> list[object]:
    settings = RECORD["settings"]
    return [
        *([], "x", 7, None, {}, {"settings": None}, {"settings": []}, {"settings": {"prompt": 7}}),
        *({**RECORD, "index": value} for value in (-1, 1, 10**30, True, "0", None, [], 1.5)),
        *({**RECORD, "stopped_after": value} for value in (-1, True, "3", [], 2.5)),
        *({**RECORD, "stopped_after": 1, "estimates": value} for value in (-1, True, "3", {})),
        *({**RECORD, "settings": settings | {"batch_size": value}} for value in (0, 10**12, "many", None)),
        *({**RECORD, "settings": settings | {"width": value}} for value in (2**40, 8 * 10**6, -8, "wide", 1e400)),
        *({**RECORD, "settings": settings | {"seed": value}} for value in (None, -1, 2**64, "x")),
        *({**RECORD, "settings": settings | {"version": value}} for value in (2, "1", None)),
        {**RECORD, "settings": settings | {"later_field": 1}},
        {**RECORD, "settings": settings | {"loras": [[["deep"]]]}},
        {**RECORD, "settings": settings | {"spacing": [1, 2, 3]}},
        {**RECORD, "load": "x", "loras": [1], "model_sha256": 7, "vae_sha256": {}, "pixels_sha256": "zz", "model": {}},
        {**RECORD, "load": {"ema": "yes", "prediction": 7, "path": "/etc/passwd"}, "loras": {"a": 1}},
    ]


@pytest.mark.parametrize("record", hostile_records(), ids=lambda record: repr(record)[:60])
def test_hostile_records_are_read_or_refused_in_words(tmp_path, record):
    info = PngInfo()
    info.add_text("tintype", json.dumps(record))
    IMAGE.save(tmp_path / "a.png", pnginfo=info)
    try:
        recalled = recall(tmp_path / "a.png")
    except TintypeError as error:
        assert str(tmp_path) in str(error)
    else:
        assert recalled.settings.num_images == 1 and recalled.index == 0
        assert recalled.options == {} and recalled.lora_hashes == {} and recalled.pixels_sha256 is None


@pytest.mark.parametrize(
    "text", ["{", "[" * 100_000, "{}" * 9, "9" * 5000, '{"a":' * 3000, "\x00", "NaN", '"' * 999_999]
)
@pytest.mark.parametrize("key", ["tintype", "parameters"])
def test_hostile_texts_are_refused_in_words(tmp_path, key, text):
    info = PngInfo()
    info.add_text(key, text)
    IMAGE.save(tmp_path / "a.png", pnginfo=info)
    with pytest.raises(TintypeError, match=r"a\.png"):
        recall(tmp_path / "a.png")


def test_a_text_that_unfolds_to_gigabytes_is_refused(tmp_path):
    info = PngInfo()
    info.add_text("tintype", " " * 30_000_000, zip=True)
    IMAGE.save(tmp_path / "a.png", pnginfo=info)
    assert (tmp_path / "a.png").stat().st_size < 100_000
    with pytest.raises(TintypeError):
        recall(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.filterwarnings("error::UserWarning")
def test_damaged_files_never_crash(tmp_path, suffix):
    whole = save_image(IMAGE, tmp_path / f"whole{suffix}", RECORD, TEXT).read_bytes()
    place, draw, read = tmp_path / f"a{suffix}", random.Random(1), 0
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 8)):
            data[draw.randrange(min(len(data), 2500))] = draw.randrange(256)
        place.write_bytes(bytes(data[: draw.choice([len(data), draw.randrange(len(data))])]))
        try:
            recall(place)
            read += 1
        except TintypeError:
            continue
    print(f"{suffix}: {read} of 150 damaged files were still read")


def test_damaged_exif_is_a_notice_and_the_record_of_a_maker_is_no_others(tmp_path):
    IMAGE.save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0" + b"\xff" * 40)
    assert read_embedded(tmp_path / "a.jpg").parameters is None
    tags = Image.Exif()
    tags.get_ifd(EXIF_IFD).update({MAKER_NOTE: b"Nikon\0{}", USER_COMMENT: b"UNICODE\0"})
    IMAGE.save(tmp_path / "b.jpg", exif=tags)
    assert read_embedded(tmp_path / "b.jpg").record is None


def test_a_damaged_record_leaves_the_web_uis_text(tmp_path):
    info = PngInfo()
    info.add_text("tintype", "{")
    info.add_text("parameters", TEXT)
    IMAGE.save(tmp_path / "a.png", pnginfo=info)
    recalled = recall(tmp_path / "a.png")
    assert recalled.record is None and recalled.settings.steps == 3
    assert any("damaged" in notice for notice in recalled.notices)


def test_what_is_no_picture(tmp_path):
    (tmp_path / "a.png").write_text("no")
    for path in (tmp_path / "a.png", tmp_path / "none.png"):
        with pytest.raises(ImageError):
            read_embedded(path)


def test_a_picture_in_memory():
    data = io.BytesIO()
    IMAGE.save(data, "PNG")
    assert read_embedded(Image.open(data)).record is None
    assert read_embedded(IMAGE).record is None
