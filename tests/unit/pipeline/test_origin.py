"""Where a model came from: its hash is computed beside the drawing, never before it."""

from __future__ import annotations

import hashlib
import threading

import pytest

from tests.unit.pipeline.tiny import tiny_model
from tintype.layouts import hashes
from tintype.pipeline.origin import Origin


def test_drawing_does_not_wait_for_hashes_and_saving_does(tmp_path, monkeypatch):
    monkeypatch.setenv("TINTYPE_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    begun, go_on, digest = threading.Event(), threading.Event(), hashes._digest

    def slow(opened):
        begun.set()
        assert go_on.wait(60)
        return digest(opened)

    monkeypatch.setattr(hashes, "_digest", slow)
    origin = Origin(file, (file,))
    origin.begin_hashing()
    assert begun.wait(60)
    assert len(tiny_model().text2img("a red boat", seed=1, steps=2).images) == 1  # while the hash is not there
    waiting = threading.Thread(target=lambda: found.append(origin.sha256()))
    found: list[str | None] = []
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    go_on.set()
    waiting.join(60)
    assert found == [hashlib.sha256(b"weights").hexdigest()]


def test_a_file_has_its_own_hash_and_a_folder_that_of_a_list(tmp_path):
    part = tmp_path / "unet" / "w.safetensors"
    part.parent.mkdir()
    part.write_bytes(b"weights")
    single = hashlib.sha256(b"weights").hexdigest()
    assert Origin(part, (part,)).sha256() == single
    assert Origin(tmp_path, (part,)).sha256() == hashlib.sha256(f"{single}  unet/w.safetensors\n".encode()).hexdigest()
    assert Origin(tmp_path, (part,), part, (part,)).vae_sha256() == single
    assert Origin(tmp_path, (part,)).vae_sha256() is None


@pytest.mark.parametrize("path", ["gone.safetensors", "gone"])
def test_files_that_are_gone_have_none(tmp_path, path):
    assert Origin(tmp_path / path, (tmp_path / path,)).sha256() is None
