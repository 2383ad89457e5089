"""The files of one model on the Hub: listed, fetched, resumed, checked.

They are kept where huggingface_hub keeps them, and it makes the entries of its cache. It does not keep what it has of
an interrupted file (2.4 throws it away), nor compare checksums; for files of several gigabytes both matter, so the
bytes are fetched here. https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import WeakFileLock, build_hf_headers, get_session, hf_raise_for_status

from tintype.checkpoints.hub import Progress
from tintype.errors import CheckpointError

HTTPError: type[Exception] = HfHubHTTPError.__bases__[0]  # of whichever HTTP library huggingface_hub uses

MAX_FAILURES = 5  # connections in a row that brought nothing
PAUSE_SECONDS = 1.0
TIMEOUT_SECONDS = 20.0
MAY_PASS = {408, 429, 500, 502, 503, 504}  # answers of a server that may answer better the next time


def is_offline() -> bool:
    """Whether the environment forbids the network: HF_HUB_OFFLINE=1."""
    return constants.is_offline_mode()


@dataclass(frozen=True)
class _File:
    """What the Hub says of a file. ``digest``: SHA-256 of large ones, Git's SHA-1 of small ones."""

    size: int
    digest: str


class Remote:
    """A model on the Hub at the commit that a revision means now."""

    def __init__(self, repository: str, revision: str | None, progress: Progress | None = None) -> None:
        self.repository = repository
        self.revision = revision or constants.DEFAULT_REVISION
        self.where = f"{repository} on {constants.ENDPOINT.removeprefix('https://')}"
        self._progress = progress
        with self._told():
            api = HfApi(endpoint=constants.ENDPOINT)
            info = api.model_info(repository, revision=revision, files_metadata=True, timeout=TIMEOUT_SECONDS)
            self.commit = info.sha
        self._files: dict[str, _File] = {}
        for file in info.siblings or ():
            digest = file.lfs.sha256 if file.lfs is not None else file.blob_id
            if file.size is not None and digest and re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", digest):
                self._files[file.rfilename] = _File(file.size, digest)
        self.names: Collection[str] = self._files.keys()

    def get(self, name: str) -> Path:
        """Fetches a file unless it is here."""
        file = self._files[name]
        folder = Path(constants.HF_HUB_CACHE) / f"models--{self.repository.replace('/', '--')}"
        blob = folder / "blobs" / file.digest
        with self._told():
            if not blob.exists() and not (folder / "snapshots" / str(self.commit) / name).exists():
                lock = (
                    folder.parent / ".locks" / folder.name / f"{file.digest}.lock"
                )  # where huggingface_hub has its own
                for place in (blob, lock):
                    place.parent.mkdir(parents=True, exist_ok=True)
                with WeakFileLock(lock):
                    if not blob.exists():
                        self._fetch(name, file, blob)
            # The bytes are there: this enters them into the cache, and what the revision means, for offline use.
            path = Path(
                hf_hub_download(
                    self.repository,
                    name,
                    revision=self.revision,
                    cache_dir=constants.HF_HUB_CACHE,
                    endpoint=constants.ENDPOINT,
                )
            )
        if str(self.commit) not in path.parts:
            raise CheckpointError(f"{self.where} changed while it was fetched. Try again.")
        return path

    def _fetch(self, name: str, file: _File, blob: Path) -> None:
        """All bytes of a file, over as many connections as it takes, checked."""
        partial = blob.with_name(f"{blob.name}.incomplete")
        failures = 0
        while True:
            before = _size(partial)
            try:
                self._continue(name, file, partial)
                break
            except (HTTPError, ConnectionError) as error:
                passing = not isinstance(error, HfHubHTTPError) or error.response.status_code in MAY_PASS
                failures = 1 if _size(partial) > before else failures + 1
                if isinstance(error, OfflineModeIsEnabled) or not passing or failures >= MAX_FAILURES:
                    raise
                time.sleep(PAUSE_SECONDS)
        found = _digest(partial, len(file.digest))
        if found != file.digest:
            partial.unlink()
            raise CheckpointError(
                f"{name} of {self.where} has a wrong checksum: {found} instead of {file.digest}. It was thrown away: "
                "try again; if it happens again, the source or the line is damaged."
            )
        partial.replace(blob)

    def _continue(self, name: str, file: _File, partial: Path) -> None:
        """One connection: the bytes that are missing, appended."""
        here = _size(partial)
        if here > file.size:
            partial.unlink()
            here = 0
        if here == file.size and here:
            return
        url = hf_hub_url(self.repository, name, revision=self.commit, endpoint=constants.ENDPOINT)
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if here:
            headers["Range"] = f"bytes={here}-"
        with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT_SECONDS) as response:
            hf_raise_for_status(response)
            if response.status_code != 206:  # the server gives the whole, asked or not
                here = 0
            with partial.open("ab" if here else "wb") as out:
                # As they come: bytes that wait for others to fill a chunk would be lost with the connection.
                for chunk in response.iter_bytes():
                    here += len(chunk)
                    if here > file.size:
                        raise CheckpointError(f"{name} of {self.where} is longer than the {file.size:,} bytes stated.")
                    out.write(chunk)
                    if self._progress is not None:
                        self._progress(name, here, file.size)
        if here < file.size:
            raise ConnectionError(f"the connection ended at byte {here:,} of {file.size:,}")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the network in words: what failed, and what to do."""
        try:
            yield
        except GatedRepoError as error:
            raise CheckpointError(
                f"{self.where} asks for consent: read and accept its terms on its page, log in with `hf auth login` "
                "or set HF_TOKEN, and try again."
            ) from error
        except RepositoryNotFoundError as error:
            raise CheckpointError(
                f"There is no folder {self.repository} here and no model {self.where}, or it is private. Check the "
                "name; for a private one log in with `hf auth login` or set HF_TOKEN."
            ) from error
        except RevisionNotFoundError as error:
            raise CheckpointError(f"{self.where} has no revision {self.revision!r}; leave it out for main.") from error
        except (EntryNotFoundError, HFValidationError) as error:
            raise CheckpointError(f"{self.where} cannot be fetched: {_first_line(error)}") from error
        except (HTTPError, OSError) as error:
            raise CheckpointError(
                f"{self.repository} cannot be fetched, because {constants.ENDPOINT} does not answer as it should "
                f"({type(error).__name__}: {_first_line(error)}). What is here of it is kept, and taken up the next "
                "time. Without network: offline=True for what was fetched before, or a folder or file of this machine. "
                "HF_ENDPOINT names another server."
            ) from error


class Cached:
    """A model as far as it was fetched before. Opens no network."""

    def __init__(self, repository: str, revision: str | None) -> None:
        self.where = f"{repository} in the cache ({constants.HF_HUB_CACHE})"
        named = revision or constants.DEFAULT_REVISION
        folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
        reference = folder / "refs" / named
        commit = reference.read_text().strip() if reference.is_file() else named
        self._folder = folder / "snapshots" / commit
        if ".." in named or not self._folder.is_dir():
            raise CheckpointError(
                f"There is no folder {repository} here, and the model of that name on the Hub was not fetched before: "
                f"its revision {named!r} is not in {constants.HF_HUB_CACHE}. Load it once with a network, without "
                "offline and HF_HUB_OFFLINE."
            )
        self.names: Collection[str] = {
            path.relative_to(self._folder).as_posix() for path in self._folder.rglob("*") if path.is_file()
        }

    def get(self, name: str) -> Path:
        """Where a file lies."""
        if name not in self.names:
            raise CheckpointError(f"{self.where} lacks {name}: load it once with a network.")
        return self._folder / name


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _digest(path: Path, length: int) -> str:
    """SHA-256, or what Git names a file by: the SHA-1 of its length and bytes."""
    with path.open("rb") as file:
        if length == 64:
            return hashlib.file_digest(file, "sha256").hexdigest()
        content = file.read()
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]
