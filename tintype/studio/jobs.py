"""Pictures in the making: each run in a thread of its own, and what happens to it as a list that anyone may follow."""

from __future__ import annotations

import asyncio
import base64
import io
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from PIL import Image

from tintype.errors import SettingsError, TintypeError
from tintype.illustrate.previews import latent_colours, preview_images
from tintype.pipeline.run import Run
from tintype.pipeline.settings import Settings
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.studio.gallery import Gallery
from tintype.text.tags import split_loras

MOST_AT_ONCE = 8
"""Runs that may be drawing. They share one model: more would only be slower together."""

MOST_REMEMBERED = 64
"""Runs whose events can still be asked for."""

LARGEST_SIDE = 2048


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

    @property
    def done(self) -> bool:
        """Whether it has come to its end."""
        return bool(self._events) and self._events[-1].kind in ENDS

    def start(self) -> Job:
        """Begin, in a thread that does not keep the program alive."""
        threading.Thread(target=self._run, name=f"job-{self.id}", daemon=True).start()
        return self

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
                for number, event in list(enumerate(self._events))[begin:]:
                    yield number, event
                    begin = number + 1
                if self.done and begin >= len(self._events):
                    return
                await news.wait()
        finally:
            with self._lock:
                self._waiting.discard(wake)

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

    def draw(self, values: dict[str, Any]) -> Job:
        """Begin a picture. ``values`` are fields of ``Settings``; ``image_sha256`` names a picture that was dropped.

        Raises:
            SettingsError: what cannot be drawn, or too much at once.
            ImageError: the picture to start from is not there.
        """
        settings = Settings.from_dict(values)
        check(settings)
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
            self._jobs[job.id] = job
        return job.start()

    def job(self, id: str) -> Job | None:
        """A job by its name."""
        return self._jobs.get(id)

    def stop_all(self) -> None:
        """The server goes down: what is being drawn is not drawn on."""
        for job in list(self._jobs.values()):
            job.stop()

    def _draw(self, job: Job, run: Run) -> Event:
        job.tell("begin", steps=len(run), settings=run.settings.to_dict(), notices=list(run.notices))
        for step in run:
            (image,) = preview_images(step.denoised[:1], self._colours)
            job.tell("step", done=step.index + 1, steps=len(run), sigma=round(step.sigma, 4), preview=data_url(image))
        return Event("made", vars(self.gallery.save(run)))


def check(settings: Settings) -> None:
    """Raise ``SettingsError`` for what the studio does not do: several pictures in one run, too large ones, files."""
    if settings.num_images != 1 or not isinstance(settings.prompt, str):
        raise SettingsError("The studio draws one picture a run; give one prompt and a batch_size of 1.")
    for name in ("width", "height"):
        side = getattr(settings, name)
        if side is not None and side > LARGEST_SIDE:
            raise SettingsError(f"{name} is {side}; expected at most {LARGEST_SIDE} in the studio.")
    if settings.mask_sha256 is not None or settings.latents_sha256 is not None:
        raise SettingsError("This picture was drawn with a mask or with noise of its own, which the studio has not.")
    for name, _ in (*settings.loras, *split_loras(settings.prompt)[1]):
        if not name or any(sign in name for sign in "/\\~:\0"):
            raise SettingsError(f"The LoRA {name!r} is a path; in the studio give the name of one in its folders.")


def data_url(image: Image.Image) -> str:
    """A small picture as the address of itself."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
