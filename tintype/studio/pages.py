"""The ``illustrate`` button: a picture's page, made in the background by drawing the picture once more, recorded."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import tintype.illustrate
from tintype.errors import MissingExtraError
from tintype.studio.exchange import settings_from
from tintype.studio.jobs import Event, Job

if TYPE_CHECKING:
    from tintype.studio.gallery import Made
    from tintype.studio.jobs import Studio


@cache
def can_illustrate() -> bool:
    """Whether this installation has what makes pages."""
    try:
        return _illustrate() is not None
    except MissingExtraError:
        return False
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("tintype"):
            raise
        return False


def page_job(studio: Studio, made: Made) -> Job:
    """The job that makes the page of a picture: it lies beside the picture, under its name."""
    settings = settings_from(made.settings)
    image = None if settings.image_sha256 is None else studio.gallery.dropped(settings.image_sha256)
    illustrate = _illustrate()
    assert illustrate is not None, "who asks has asked can_illustrate"
    others = {name: value for name, value in vars(settings).items() if name != "prompt"}
    place = studio.gallery.folder / made.name

    def work(job: Job) -> Event:
        stages = []

        def progress(stage: str) -> None:
            stages.append(stage)
            job.tell("step", done=len(stages), stage=stage)

        page = illustrate(studio.sd, settings.prompt, image=image, progress=progress, **others)
        page.save(place.with_suffix(".html"))
        return Event("made", {"page": place.with_suffix(".html").name})

    return Job(work)


def _illustrate() -> Callable[..., Any] | None:
    return getattr(tintype.illustrate, "illustrate", None)
