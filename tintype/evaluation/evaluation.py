"""All that is measured of a model, one piece of work after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tintype.errors import SettingsError, TintypeError
from tintype.evaluation.autoencoding import autoencoder_figures
from tintype.evaluation.contrast import clip_figures
from tintype.evaluation.crowds import frechet_figures, nearest_figures
from tintype.evaluation.denoising import denoiser_figures
from tintype.evaluation.examined import Examined
from tintype.evaluation.fidelity import fidelity_figures
from tintype.evaluation.figures import Figure, Report, Tick, Work
from tintype.evaluation.groups import PAIR, SEEN, Group, draw_groups
from tintype.evaluation.reader import Judge, load_judge
from tintype.models.pixels import Pixels


@dataclass(frozen=True)
class Effort:
    """How many pictures each figure is measured on."""

    generated: int = 256  # of every group of prompts
    losses: int = 256
    autoencoded: int = 128  # of every style
    pools: tuple[int, ...] = (256, 1024)  # among which a picture finds its caption
    read_by_clip: int = 256
    references: int = 2048  # drawn scenes that generated ones are compared with

    @classmethod
    def of(cls, pictures: int) -> Effort:
        """All in proportion to ``pictures`` of every group. They are drawn in whole batches of 16.

        Raises:
            SettingsError: fewer than 4.
        """
        if pictures < 4:
            raise SettingsError(f"An evaluation needs at least 4 pictures of every group, not {pictures}.")
        pools = tuple(pool for pool in cls.pools if pool <= 4 * pictures) or (4 * pictures,)
        return cls(pictures, pictures, pictures // 2, pools, pictures, 8 * pictures)


THOROUGH = Effort()
FAST = Effort.of(32)


class Evaluation:
    """An evaluation that can be watched: ``for tick in evaluation`` measures, then ``report`` is there.

    Generated pictures are kept in ``folder`` as they are drawn; an evaluation that was broken off continues.
    """

    def __init__(
        self, examined: Examined, folder: Path, effort: Effort = THOROUGH, *, judge: Judge | None = None
    ) -> None:
        self.examined, self.folder, self.effort = examined, folder, effort
        self.judge = judge or load_judge()
        self._figures: list[Figure] = []
        self._not_measured: list[str] = []
        self._done = False

    def __iter__(self) -> Iterator[Tick]:
        examined, effort = self.examined, self.effort
        self._figures, self._not_measured, self._done = [], [], False
        if isinstance(examined.model.autoencoder, Pixels):
            self._not_measured.append("Autoencoder: the model draws pixels and has none.")
        else:
            yield from self._work(autoencoder_figures(examined, effort.autoencoded))
        if examined.towers is not None:
            yield from self._work(clip_figures(examined, examined.towers, effort.pools, effort.read_by_clip))
        else:
            self._not_measured.append(
                "CLIP (retrieval, reading of attributes): not measurable, no image tower. A model's folder holds only "
                "the text tower; the folder of the training run holds both."
            )
        yield from self._work(denoiser_figures(examined, effort.losses))
        groups = yield from self._groups()
        if examined.wordless:
            self._not_measured.append("Prompt fidelity: the model was trained without text and follows no prompt.")
        else:
            for group in groups:
                yield from self._work(fidelity_figures(examined, group, self.judge))
        yield from self._likeness(groups)
        self._done = True

    def _work(self, work: Work) -> Iterator[Tick]:
        self._figures += yield from work

    def _groups(self):
        groups: list[Group] = []
        for news in draw_groups(self.examined, self.effort.generated, self.folder):
            if isinstance(news, Group):
                groups.append(news)
            else:
                yield news
        return groups

    def _likeness(self, groups: list[Group]) -> Iterator[Tick]:
        """Held-out pairs are left out of the crowd: the scenes that it is compared with have none."""
        examined = self.examined
        crowd = [group for group in groups if group.name != PAIR]
        yield from self._work(frechet_figures(examined, crowd, self.judge, self.effort.references))
        seen = [group for group in groups if group.name == SEEN]
        for group in seen:
            yield from self._work(nearest_figures(examined, group, self.judge))
        if not seen:
            self._not_measured.append(
                "Nearest training picture, and which combinations were trained on: not measurable, the model does not "
                "say that it learnt from drawn scenes (recipe.json). All other figures are measured on drawn scenes, "
                "which may be nothing like what it learnt from."
            )

    @property
    def report(self) -> Report:
        """All figures.

        Raises:
            TintypeError: the evaluation was not run to its end.
        """
        if not self._done:
            raise TintypeError("This evaluation has not been run to its end; iterate over it first.")
        defaults = self.examined.model.defaults
        settings = {
            "size": self.examined.size,
            "steps": defaults.steps,
            "guidance_scale": defaults.guidance_scale,
            "effort": asdict(self.effort),
        }
        return Report(self.examined.name, tuple(self._figures), tuple(self._not_measured), settings)
