"""The studio's HTTP: the page, and a few small addresses that speak JSON and server-sent events.

GET  /api/model                         the model and what can be chosen
POST /api/runs                          settings -> {id}; the picture begins
GET  /api/jobs/{id}/events              begin, step ..., made or error
POST /api/jobs/{id}/stop                keep what is there
POST /api/dropped                       a file's bytes -> {sha256, width, height}
GET  /api/pictures                      what was made, the newest first
POST /api/pictures/{name}/illustrate    {id} of a job that makes its page, where illustrate is there
GET  /pictures/{name}                   a picture; /pages/{name} an illustrated page; /dropped/{sha256}
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as AnyHTTPException  # the router's own, and the parent of FastAPI's

import tintype
from tintype.diffusion import SAMPLERS
from tintype.errors import TintypeError
from tintype.studio import pages
from tintype.studio.exchange import LARGEST_SIDE
from tintype.studio.guard import Guard
from tintype.studio.jobs import Job, Studio

PAGE = Path(__file__).parent / "page"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

MOST_JSON = 256 * 1024
MOST_PICTURE = 32 * 1024 * 1024

# An illustrated page has scripts of its own. In a sandbox it is a page from nowhere: it cannot speak to the studio.
SANDBOX = {"Content-Security-Policy": "sandbox allow-scripts allow-downloads allow-popups"}


def create_app(studio: Studio) -> FastAPI:
    """The application for one studio."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        studio.stop_all()

    app = FastAPI(title="Tintype studio", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.add_middleware(Guard)

    @app.exception_handler(TintypeError)
    async def _(_: Request, error: TintypeError) -> Response:
        return JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(AnyHTTPException)
    async def _(_: Request, error: AnyHTTPException) -> Response:
        return JSONResponse({"error": error.detail}, error.status_code)

    @app.get("/")
    def page() -> Response:
        return page_file("index.html")

    @app.get("/page/{name}")
    def page_file(name: str) -> Response:
        known = {path.name: path for path in PAGE.iterdir() if path.suffix in KINDS}
        if name not in known:
            raise nothing(name)
        return FileResponse(known[name], media_type=KINDS[known[name].suffix])

    @app.get("/api/model")
    def model() -> dict[str, Any]:
        sd = studio.sd
        return {
            "name": sd.name,
            "version": tintype.__version__,
            "defaults": vars(sd.defaults),
            "sampler": sd.schedule.sampler or "ddim",
            "samplers": sorted(SAMPLERS),
            "largest": LARGEST_SIDE,
            "notices": list(sd.notices),
            "vocabulary": sd.conditioner.vocabulary is not None,
            "illustrates": pages.can_illustrate(),
        }

    @app.post("/api/runs")
    def draw(values: Annotated[Any, Depends(read_json)]) -> dict[str, str]:
        return {"id": studio.draw(values).id}

    @app.get("/api/jobs/{id}/events")
    async def events(id: str, request: Request) -> Response:
        job = found(id)
        last = request.headers.get("last-event-id", "")
        begin = int(last) + 1 if last.isdecimal() and len(last) < 10 else 0
        return StreamingResponse(_as_text(job, begin), media_type="text/event-stream")

    @app.post("/api/jobs/{id}/stop")
    def stop(id: str) -> dict[str, str]:
        found(id).stop()
        return {"id": id}

    @app.post("/api/dropped")
    async def drop(request: Request) -> dict[str, Any]:
        return await run_in_threadpool(studio.gallery.drop, await _body(request, MOST_PICTURE))

    @app.get("/api/pictures")
    def pictures() -> list[dict[str, Any]]:
        return [vars(made) for made in studio.gallery.recent()]

    @app.post("/api/pictures/{name}/illustrate")
    def illustrate(name: str) -> dict[str, str]:
        made = studio.gallery.made(name)
        if made is None or not pages.can_illustrate():
            raise nothing(name)
        return {"id": studio.begin(pages.page_job(studio, made)).id}

    @app.get("/pictures/{name}")
    def picture(name: str) -> Response:
        return file(studio.gallery.find(name, ".png"), name, "image/png")

    @app.get("/pages/{name}")
    def illustrated(name: str) -> Response:
        return file(studio.gallery.find(name, ".html"), name, "text/html", SANDBOX)

    @app.get("/dropped/{sha256}")
    def dropped(sha256: str) -> Response:
        return file(studio.gallery.dropped(sha256), sha256, "image/png")

    def file(path: Path | None, name: str, kind: str, headers: dict[str, str] | None = None) -> Response:
        if path is None:
            raise nothing(name)
        return FileResponse(path, media_type=kind, headers=headers)

    def found(id: str) -> Job:
        job = studio.job(id)
        if job is None:
            raise nothing(id)
        return job

    return app


def nothing(name: str) -> HTTPException:
    """The answer for what is not there."""
    return HTTPException(404, f"There is no {name!r} here.")


async def read_json(request: Request) -> Any:
    """The body as JSON, if it is not too large."""
    try:
        return json.loads(await _body(request, MOST_JSON))
    except (ValueError, RecursionError):
        raise HTTPException(400, "The request is not JSON.") from None


async def _body(request: Request, most: int) -> bytes:
    """The body, read only as far as it may go."""
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > most:
            raise HTTPException(413, f"That is larger than {most // 1024:,} KB; make it smaller.")
    return b"".join(parts)


async def _as_text(job: Job, begin: int) -> AsyncIterator[str]:
    """A job's events as server-sent events."""
    async for number, event in job.follow(begin):
        yield f"id: {number}\nevent: {event.kind}\ndata: {json.dumps(event.data)}\n\n"
