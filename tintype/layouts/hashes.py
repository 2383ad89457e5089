"""SHA-256 of weight files: computed once, in the background if wished, and remembered on the disk.

A file's hash is kept in the user's cache folder (TINTYPE_CACHE, else ``tintype`` in XDG_CACHE_HOME or ~/.cache) in a
small file of its own, together with the size, time and inode that it held for; when one of them changes, it is computed
anew. Every such file appears whole under its final name, so that several processes may read and write at once. Where
nothing can be written, hashes are computed again by every process.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

BLOCK = 1 << 20
MAX_NOTE_BYTES = 20_000
MAX_NOTES = 20_000

_turn = threading.Lock()
_known: dict[tuple[str, tuple[int, int, int]], str] = {}


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file, from memory or the cache where the file has not changed. OSError where it is not there.

    One file at a time is read in a process: two threads that ask for the same one read it once.
    """
    path = Path(path).resolve()
    with _turn:
        state = _state(path)
        found = _known.get((str(path), state)) or _read_note(_note(path), path, state)
        if found is None:
            with path.open("rb") as file:
                found = _digest(file)
            if _state(path) == state:  # not written to meanwhile
                _write(_note(path), {"path": str(path), "state": state, "sha256": found})
        _known[str(path), state] = found
        return found


def files_sha256(files: Iterable[Path], folder: Path) -> str:
    """One hash for the weights of a folder: that of a list of them.

    The list has a line for each file, in the order of their names: its SHA-256, two spaces, its path from the folder
    with slashes, a newline; as ``sha256sum`` prints them.
    """
    named = sorted((file.relative_to(folder).as_posix(), file) for file in files)
    lines = "".join(f"{file_sha256(file)}  {name}\n" for name, file in named)
    sha256 = hashlib.sha256(lines.encode()).hexdigest()
    names = [name for name, _ in named]
    _write(_note(folder, *names), {"path": str(folder), "files": names, "sha256": sha256})
    return sha256


def data_sha256(path: str | Path) -> str:
    """The SHA-256 of what follows the header of a safetensors file: kohya's hash of LoRAs, whatever their metadata."""
    with Path(path).open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
        file.seek(8 + header)
        return _digest(file)


def known_models(prefix: str) -> Iterator[Path]:
    """Files and folders on this machine whose SHA-256 was computed before, begins so, and still holds."""
    try:
        notes = sorted(_folder().glob("*.json"))[:MAX_NOTES]
    except OSError:
        return
    for note in notes:
        values = _values(note)
        path, sha256, files = values.get("path"), values.get("sha256"), values.get("files")
        if not isinstance(path, str) or not isinstance(sha256, str) or not sha256.startswith(prefix):
            continue
        try:
            if isinstance(files, list):
                holds = files_sha256([Path(path) / str(name) for name in files], Path(path)) == sha256
            else:
                holds = _read_note(note, Path(path), _state(Path(path))) is not None
        except FileNotFoundError:
            note.unlink(missing_ok=True)
            continue
        except (OSError, ValueError):  # not to be read now, or no path at all
            continue
        if holds:
            yield Path(path)


def _digest(file) -> str:
    digest = hashlib.sha256()
    while block := file.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _state(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def _folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TINTYPE_CACHE") or f"{home}/tintype").expanduser() / "hashes"


def _note(path: Path, *names: str) -> Path:
    key = b"\0".join([os.fsencode(path), *map(os.fsencode, names)])
    return _folder() / f"{hashlib.sha256(key).hexdigest()}.json"


def _values(note: Path) -> dict:
    try:
        if note.stat().st_size > MAX_NOTE_BYTES:
            return {}
        values = json.loads(note.read_text(encoding="utf-8"))
        return values if isinstance(values, dict) else {}
    except (OSError, ValueError, RecursionError):
        return {}


def _read_note(note: Path, path: Path, state: tuple[int, int, int]) -> str | None:
    values = _values(note)
    if values.get("path") != str(path) or values.get("state") != list(state):
        return None
    sha256 = values.get("sha256")
    return sha256 if isinstance(sha256, str) and len(sha256) == 64 else None


def _write(note: Path, values: dict) -> None:
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=note.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(values, file)
            os.replace(beside, note)
        finally:
            Path(beside).unlink(missing_ok=True)
    except OSError:  # a cache that cannot be written is none
        pass
