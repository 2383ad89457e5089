"""Where a model's weights came from: what names them in a picture, and what it takes to load them again."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tintype.layouts.hashes import file_sha256, files_sha256


@dataclass(frozen=True)
class Origin:
    """The files of a model and how they were read.

    ``path`` is its file or folder and ``files`` the weights in it; ``vae`` the file or folder of another autoencoder;
    ``options`` what else ``tintype.load`` was told, such as ``prediction``, where it was told.
    """

    path: Path
    files: tuple[Path, ...]
    vae: Path | None = None
    vae_files: tuple[Path, ...] = ()
    options: Mapping[str, str | bool] = field(default_factory=dict)

    def begin_hashing(self) -> None:
        """Compute the hashes in the background; whoever asks for one before it is there waits for it."""
        threading.Thread(target=self._hash_all, name="tintype-hashes", daemon=True).start()

    def sha256(self) -> str | None:
        """A single file's SHA-256, whose first ten digits A1111 calls the model hash; or a folder's ``files_sha256``.

        None where the files are gone.
        """
        return _sha256(self.path, self.files)

    def vae_sha256(self) -> str | None:
        """Likewise of the autoencoder, where another one was put in."""
        return None if self.vae is None else _sha256(self.vae, self.vae_files)

    def _hash_all(self) -> None:
        self.sha256()
        self.vae_sha256()


def _sha256(path: Path, files: tuple[Path, ...]) -> str | None:
    try:
        return files_sha256(files, path) if path.is_dir() else file_sha256(path)
    except OSError:
        return None
