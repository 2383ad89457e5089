"""Pictures in the making: each run in a thread of its own, and what happens to it as a list that anyone may follow."""

from __future__ import annotations

import asyncio
import base64
import io
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from math import ceil
from typing import Any, NamedTuple

from PIL import Image

from tintype.errors import SettingsError, TintypeError
from tintype.illustrate.previews import latent_colours, preview_images
from tintype.pipeline.run import Run
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.studio.exchange import settings_from, settings_to_page
from tintype.studio.gallery import Gallery

MOST_AT_ONCE = 8
"""Runs that may be drawing. They share one model: more would only be slower together."""

SECONDS_TO_STOP = 5
"""That a run is waited for when the server goes down: one step and the decoder."""

MOST_REMEMBERED = 64
"""Runs whose events can still be asked for."""


PREVIEW_SIDE = 64
"""Pixels of a preview, at least: what is smaller is enlarged more smoothly here than by a browser."""


class Event(NamedTuple):
    """Something that happened to a job: ``begin``, ``step``, ``made``, ``error``. The last two end it."""

    kind: str
    data: dict[str, Any]


ENDS = ("made", "error")


class Job:
    """Work in a thread, told as events. Whoever follows late hears everything from the beginning."""

    def __init__(self, work: Callable[[Job], Event], stop: Callable[[], None] = lambda: None) -> None:
        self.id = secrets.token_urlsafe(12)
        self.stop = stop
        self._work = work
        self._events: list[Event] = []
        self._waiting: set[Callable[[], None]] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"job-{self.id}", daemon=True)

    @property
    def done(self) -> bool:
        """Whether it has come to its end."""
        return bool(self._events) and self._events[-1].kind in ENDS

    def start(self) -> Job:
        """Begin, in a thread that does not keep the program alive."""
        self._thread.start()
        return self

    def join(self, seconds: float) -> None:
        """Wait for its end, but not longer."""
        self._thread.join(seconds)

    def tell(self, kind: str, **data: Any) -> None:
        """Something happened."""
        self._add(Event(kind, data))

    async def follow(self, begin: int = 0) -> AsyncIterator[tuple[int, Event]]:
        """(number, event) from number ``begin`` on, as they come, until the job's end."""
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(news.set)

        with self._lock:
            self._waiting.add(wake)
        try:
            while True:
                news.clear()
                for number, event in enumerate(self._events[begin:], begin):
                    yield number, event
                    begin = number + 1
                if self.done and begin >= len(self._events):
                    return
                await news.wait()
        finally:
            with self._lock:
                self._waiting.discard(wake)

    def trim(self) -> None:
        """Give the previews of a job that is over back: who asks for it now wants to see the result."""
        with self._lock:
            if self.done and not self._waiting:
                self._events = [Event(kind, data | {"preview": None}) for kind, data in self._events]

    def _run(self) -> None:
        try:
            end = self._work(self)
        except TintypeError as error:
            end = Event("error", {"message": str(error)})
        except Exception as error:  # the page must hear of it, whatever it was
            end = Event("error", {"message": f"{type(error).__name__}: {error}".partition("\n")[0]})
        self._add(end)

    def _add(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)
            for wake in self._waiting:
                try:
                    wake()
                except RuntimeError:  # its loop was closed: the server goes down
                    continue


class Studio:
    """A model, a folder, and the jobs."""

    def __init__(self, sd: StableDiffusion, gallery: Gallery) -> None:
        self.sd, self.gallery = sd, gallery
        self._colours = latent_colours(sd)
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def draw(self, values: Any) -> Job:
        """Begin a picture. ``values`` are fields of ``Settings``; ``image_sha256`` names a picture that was dropped.

        Raises:
            SettingsError: what cannot be drawn, or too much at once.
            ImageError: the picture to start from is not there.
        """
        settings = settings_from(values)
        sha256 = settings.image_sha256
        run = self.sd.run(settings, image=None if sha256 is None else self.gallery.dropped(sha256))
        return self.begin(Job(lambda job: self._draw(job, run), run.stop))

    def begin(self, job: Job) -> Job:
        """Start a job and remember it; SettingsError where too many are at work."""
        with self._lock:
            if sum(not other.done for other in self._jobs.values()) >= MOST_AT_ONCE:
                raise SettingsError(f"{MOST_AT_ONCE} pictures are being drawn; wait for one, or stop one.")
            for old in [id for id, other in self._jobs.items() if other.done][: len(self._jobs) - MOST_REMEMBERED + 1]:
                del self._jobs[old]
            for other in self._jobs.values():
                other.trim()
            self._jobs[job.id] = job
        return job.start()

    def job(self, id: str) -> Job | None:
        """A job by its name."""
        return self._jobs.get(id)

    def stop_all(self) -> None:
        """The server goes down: what is being drawn is not drawn on."""
        for job in list(self._jobs.values()):
            job.stop()
        for job in list(self._jobs.values()):
            job.join(SECONDS_TO_STOP)

    def _draw(self, job: Job, run: Run) -> Event:
        job.tell("begin", steps=len(run), settings=settings_to_page(run.settings), notices=list(run.notices))
        for step in run:
            factor = ceil(PREVIEW_SIDE / min(step.x.shape[2:]))
            (image,) = preview_images(step.denoised[:1], self._colours, factor)
            job.tell("step", done=step.index + 1, steps=len(run), sigma=round(step.sigma, 4), preview=data_url(image))
        return Event("made", vars(self.gallery.save(run)))


def data_url(image: Image.Image) -> str:
    """A small picture as the address of itself."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
