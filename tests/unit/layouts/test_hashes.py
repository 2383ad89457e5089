"""Hashes of files: right, computed once, kept for as long as they hold."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tintype.layouts import hashes
from tintype.layouts.hashes import data_sha256, file_sha256, files_sha256, known_models


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TINTYPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "_known", {})
    return tmp_path / "cache" / "hashes"


@pytest.fixture
def weights(tmp_path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(os.urandom(3_000_000))
    return tmp_path / "model.safetensors"


@pytest.fixture
def reads(monkeypatch) -> list[int]:
    """Grows by one with each file that is read to be hashed."""
    count: list[int] = []
    digest = hashes._digest
    monkeypatch.setattr(hashes, "_digest", lambda file: count.append(1) or digest(file))
    return count


def test_the_hash_is_sha256(weights):
    assert file_sha256(weights) == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_it_is_computed_once_and_kept_on_the_disk(weights, reads, monkeypatch, cache):
    first = file_sha256(weights)
    monkeypatch.setattr(hashes, "_known", {})  # as another process
    assert file_sha256(weights) == first
    assert len(reads) == 1
    assert [path.suffix for path in cache.iterdir()] == [".json"]


def test_a_file_that_changed_is_read_again(weights, reads):
    before = file_sha256(weights)
    data = bytearray(weights.read_bytes())
    data[0] ^= 1
    weights.write_bytes(data)
    assert file_sha256(weights) != before
    state = weights.stat()
    weights.with_name("other").write_bytes(data[::-1])
    os.replace(weights.with_name("other"), weights)  # of the same size and, now, the same time
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert file_sha256(weights) == hashlib.sha256(data[::-1]).hexdigest()
    assert len(reads) == 3


@pytest.mark.parametrize(
    "note", ["", "{", "[]", '{"sha256": 7}', "[" * 9999, "x" * 100_000, '{"path": 1, "state": "a"}']
)
def test_a_damaged_cache_is_none(weights, cache, note, monkeypatch):
    before = file_sha256(weights)
    monkeypatch.setattr(hashes, "_known", {})
    for path in cache.iterdir():
        path.write_text(note)
    assert list(known_models(before[:10])) == []
    assert file_sha256(weights) == before


def test_a_cache_that_cannot_be_written_is_done_without(weights, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TINTYPE_CACHE", str(tmp_path / "file"))
    assert file_sha256(weights) == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert list(known_models("")) == []


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(OSError):
        file_sha256(tmp_path / "none")


def test_several_threads_read_it_once(weights, reads):
    found: set[str] = set()
    threads = [threading.Thread(target=lambda: found.add(file_sha256(weights))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len(reads)) == (1, 1)


def test_several_processes_at_once(weights, cache):
    code = "import sys; from tintype.layouts.hashes import file_sha256; print(file_sha256(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(weights)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    told = {process.communicate(timeout=60)[0].strip() for process in running}
    assert told == {hashlib.sha256(weights.read_bytes()).hexdigest()}
    (note,) = cache.iterdir()
    assert json.loads(note.read_text())["sha256"] in told


def test_the_hash_of_a_folder_is_of_a_list(tmp_path):
    files = [tmp_path / "unet" / "b.safetensors", tmp_path / "a.safetensors"]
    (tmp_path / "unet").mkdir()
    for file in files:
        file.write_text(file.name)
    lines = subprocess.run(
        ["sha256sum", "a.safetensors", "unet/b.safetensors"], cwd=tmp_path, capture_output=True, check=True
    ).stdout
    assert files_sha256(files, tmp_path) == hashlib.sha256(lines).hexdigest()


def test_models_are_found_by_their_hash_as_long_as_it_holds(weights, tmp_path):
    (tmp_path / "folder").mkdir()
    part = tmp_path / "folder" / "part"
    part.write_text("part")
    single, whole = file_sha256(weights), files_sha256([part], tmp_path / "folder")
    assert list(known_models(single[:10])) == [weights]
    assert list(known_models(whole)) == [tmp_path / "folder"]
    assert list(known_models("0" * 64)) == []
    part.write_text("other")
    weights.unlink()
    assert list(known_models(single[:10])) == list(known_models(whole)) == []


def test_kohyas_hash_does_not_see_the_metadata(tmp_path):
    for name, metadata in (("a", {"x": "1"}), ("b", {"x": "other"})):
        save_file({"t": torch.arange(9.0)}, tmp_path / name, metadata=metadata)
    assert data_sha256(tmp_path / "a") == data_sha256(tmp_path / "b")
    assert file_sha256(tmp_path / "a") != file_sha256(tmp_path / "b")


def test_where_the_cache_is(monkeypatch, tmp_path):
    assert hashes._folder() == tmp_path / "cache" / "hashes"
    monkeypatch.delenv("TINTYPE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert hashes._folder() == tmp_path / "tintype" / "hashes"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert hashes._folder() == Path.home() / ".cache" / "tintype" / "hashes"


def test_notes_of_files_that_are_gone_go_too(weights, cache):
    sha256 = file_sha256(weights)
    weights.unlink()
    assert list(known_models(sha256)) == []
    assert list(cache.iterdir()) == []
