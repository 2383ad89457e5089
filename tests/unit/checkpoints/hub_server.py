"""A Hub of one's own: the small part of its interface that fetching a model uses, served over HTTP on this machine."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 1000  # bytes from which a file is kept by Git LFS, and its name is its SHA-256


def digest(content: bytes) -> str:
    if len(content) >= LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address) -> None:
        """A client that has heard enough is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@dataclass
class Hub:
    """Serves ``models``: name -> files. ``requests``: what was asked, as (method, file or address, range)."""

    models: dict[str, dict[str, bytes]]
    gated: set[str] = field(default_factory=set)
    cuts: dict[str, list[int]] = field(default_factory=dict)  # file -> after how many bytes the next answers end
    wrong: dict[str, bytes] = field(default_factory=dict)  # file -> what is sent instead
    statuses: dict[str, list[int]] = field(default_factory=dict)  # file -> what the next answers are instead
    ranges: bool = True  # whether parts of files are served
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)

    def __enter__(self) -> Hub:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # or each answer waits 40 ms for the acknowledgement of its first half
            wbufsize = -1

            def do_GET(self) -> None:
                hub._answer(self, with_content=True)

            def do_HEAD(self) -> None:
                hub._answer(self, with_content=False)

            def log_message(self, *_) -> None: ...

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def fetched(self) -> list[str]:
        """The files whose bytes were asked for, in order."""
        return [file for method, file, _ in self.requests if method == "GET" and not file.startswith("/api/")]

    def _answer(self, request: BaseHTTPRequestHandler, with_content: bool) -> None:
        path = unquote(urlsplit(request.path).path)
        words = path.strip("/").split("/")
        is_api = words[:2] == ["api", "models"]
        model = "/".join(words[2:4] if is_api else words[:2])
        file = path if is_api else "/".join(words[4:])
        self.requests.append((request.command, file, request.headers.get("Range")))
        if model not in self.models:
            return self._refuse(request, 404, "RepoNotFound")
        if model in self.gated:
            return self._refuse(request, 403, "GatedRepo")
        revision = (words[5] if len(words) > 5 else "main") if is_api else words[3]
        if revision not in ("main", "v1", COMMIT):
            return self._refuse(request, 404, "RevisionNotFound")
        if is_api:
            return self._send(request, json.dumps(self._info(model)).encode(), {}, True)
        if file not in self.models[model]:
            return self._refuse(request, 404, "EntryNotFound")
        if with_content and self.statuses.get(file):
            return self._refuse(request, self.statuses[file].pop(0), "")
        content = self.models[model][file]
        headers = {"ETag": f'"{digest(content)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        self._send(request, self.wrong.get(file, content), headers, with_content, self.cuts.get(file))

    def _info(self, model: str) -> dict:
        siblings = []
        for name, content in self.models[model].items():
            sibling = {"rfilename": name, "size": len(content), "blobId": digest(content)}
            if len(content) >= LARGE:
                sibling["lfs"] = {"sha256": digest(content), "size": len(content), "pointerSize": 130}
            siblings.append(sibling)
        return {"id": model, "sha": COMMIT, "siblings": siblings}

    def _send(self, request, content: bytes, headers: dict, with_content: bool, cuts: list[int] | None = None) -> None:
        asked = request.headers.get("Range")
        begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        request.send_response(206 if begin else 200)
        if begin:
            request.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        for name, value in {**headers, "Content-Length": str(len(content) - begin)}.items():
            request.send_header(name, value)
        request.end_headers()
        if with_content and cuts:
            request.wfile.write(content[begin : begin + cuts.pop(0)])
            request.wfile.flush()
            request.close_connection = True
        elif with_content:
            request.wfile.write(content[begin:])

    def _refuse(self, request, status: int, code: str) -> None:
        request.send_response(status)
        request.send_header("X-Error-Code", code)
        request.send_header("Content-Length", "0")
        request.end_headers()


def files_of(folder: Path) -> dict[str, bytes]:
    """A folder as the files of a model."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
