"""Pictures on the disk: whole, named, and never over another file."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from tintype.errors import ImageError
from tintype.pipeline.outputs import output_place, read_record, save_image, slug

IMAGE = Image.new("RGB", (64, 64), "teal")


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Paradise Cosmic Beach", "paradise-cosmic-beach"),
        ("../../etc/passwd", "etc-passwd"),
        ("a_b  c!?\n\td", "a-b-c-d"),
        ("", "picture"),
        ("🦜/\\\0", "picture"),
        ("海边 Café", "海边-café"),
        ("x" * 500, "picture"),
    ],
)
def test_slugs(prompt, expected):
    assert slug(prompt) == expected


def test_slugs_are_short():
    assert len(slug("word " * 100).encode()) <= 60
    assert len(slug("海边的 " * 100).encode()) <= 60


def test_where_pictures_go(tmp_path):
    assert output_place(None, "a") == Path("outputs/a.png")
    assert output_place(tmp_path / "b.JPG", "a") == tmp_path / "b.JPG"
    assert output_place(tmp_path / "pictures.v2", "a") == tmp_path / "pictures.v2" / "a.png"
    (tmp_path / "folder.png").mkdir()
    assert output_place(tmp_path / "folder.png", "a") == tmp_path / "folder.png" / "a.png"
    with pytest.raises(ImageError, match=r"\.tiff"):
        output_place(tmp_path / "b.tiff", "a")


@pytest.mark.parametrize("links", [True, False])
def test_nothing_is_overwritten(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError("no links here")))
    place = tmp_path / "new" / "a.png"
    paths = [save_image(IMAGE, place) for _ in range(3)]
    assert [path.name for path in paths] == ["a.png", "a-2.png", "a-3.png"]
    assert sorted(os.listdir(place.parent)) == ["a-2.png", "a-3.png", "a.png"]
    assert all(Image.open(path).size == (64, 64) for path in paths)


def test_several_writers_at_once(tmp_path):
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.extend(save_image(IMAGE, tmp_path / "a.png") for _ in range(5)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 20
    assert set(paths) == set(tmp_path.iterdir())


def test_writers_of_one_picture_do_not_mix_up_their_records(tmp_path):
    def write(number: int) -> None:
        for _ in range(20):
            path = save_image(IMAGE, tmp_path / f"{number}.png", {"number": number})
            found.append(read_record(path) == {"number": number})

    found: list[bool] = []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert found == [True] * 80
    assert read_record(save_image(IMAGE, tmp_path / "alone.png", {"number": 9})) == {"number": 9}


@pytest.mark.parametrize(("suffix", "format"), [(".png", "PNG"), (".jpg", "JPEG"), (".webp", "WEBP")])
def test_formats(tmp_path, suffix, format):
    assert Image.open(save_image(IMAGE, tmp_path / f"a{suffix}", {"seed": 1})).format == format


def test_others_may_read_them_as_the_user_wishes(tmp_path):
    path = save_image(IMAGE, tmp_path / "a.png")
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_record_is_in_the_picture(tmp_path):
    record = {"settings": {"prompt": "a \N{SNOWMAN}"}, "index": 0}
    assert read_record(save_image(IMAGE, tmp_path / "a.png", record)) == record
    assert read_record(save_image(IMAGE, tmp_path / "b.png")) is None


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="cannot be written"):
        save_image(IMAGE, tmp_path / "file" / "a.png")
    assert os.listdir(tmp_path) == ["file"]


def test_a_failure_leaves_nothing_behind(tmp_path):
    with pytest.raises(TypeError):
        save_image(IMAGE, tmp_path / "a.png", {"not json": object()})
    assert os.listdir(tmp_path) == []
