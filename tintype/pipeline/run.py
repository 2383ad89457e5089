"""One run of a model: words become conditioning, noise becomes latents step by step, latents become pictures."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import ceil, sqrt
from typing import TYPE_CHECKING, Self

from PIL import Image
from torch import Tensor

from tintype.adapters.lora import applied
from tintype.diffusion import Denoiser, SolverNoise, guided, masked, resolve, start_noise
from tintype.errors import SettingsError, TintypeError
from tintype.images import Source, mask_to_latents, paste, to_tensor
from tintype.models import Prepared
from tintype.pipeline.conditions import (
    conditionings,
    imitates_guidance,
    takes_masked_pictures,
    without_effect,
)
from tintype.pipeline.finite import FiniteFlag, require_finite
from tintype.pipeline.inputs import check_noise_shape, read_inputs
from tintype.pipeline.prompts import Prompts
from tintype.pipeline.settings import Settings
from tintype.types import Denoise, Sigma, Step

if TYPE_CHECKING:
    from tintype.pipeline.stable_diffusion import StableDiffusion

SAMPLER = "ddim"
"""Where neither the settings nor the model's scheduler configuration name one."""


class Stopped(Exception):
    """Thrown through a solver where the next network call would be, after ``Run.stop``."""


class Run:
    """A picture that is not drawn yet. Iterate over it to watch it develop, or ask for ``images``.

    ``for step in run`` computes one ``Step`` at a time and holds nothing between them: neither the model's lock, nor
    the grad mode, nor anything attached to the networks. A second loop goes on where the first left off. Several
    threads may share a run, and several runs a model.

    Attributes:
        model: the ``StableDiffusion`` that draws.
        settings: complete; ``model.run(settings)``, with the same picture and mask if any, repeats this run.
        plan: the noise levels that are visited.
        estimates_done: how often the picture has been estimated; some solvers do so more than once a step.

    Raises:
        NotFiniteError: while it runs: NaN or infinity, with the name of the stage. Whatever error ends a run is
            raised again by everything that would go on with it.
    """

    def __init__(
        self,
        model: StableDiffusion,
        settings: Settings,
        *,
        image: Source | None = None,
        mask: Source | None = None,
        latents: Tensor | None = None,
    ) -> None:
        settings, self._inputs = read_inputs(settings, image, mask, latents)
        self._prompts = Prompts.of(model, settings)
        chosen, spacing = resolve(settings.sampler or model.schedule.sampler or SAMPLER, settings.spacing)
        plan = model.schedule.plan(chosen, spacing, settings.steps or model.defaults.steps)
        self.model = model
        self._sampler = chosen
        self._scale = model.defaults.guidance_scale if settings.guidance_scale is None else settings.guidance_scale
        self.settings = replace(
            settings.filled(model.defaults),
            sampler=chosen.name,
            spacing=spacing,
            eta=chosen.eta if settings.eta is None else settings.eta,
            steps=len(plan),
            seed=secrets.randbits(32) if settings.seed is None else settings.seed,
        )
        self.plan = plan
        # A model that was trained to repaint begins, at full strength, with noise alone, as it was trained to.
        self._from_picture = settings.strength is not None and not (
            settings.strength == 1 and self._inputs.mask is not None and takes_masked_pictures(model)
        )
        if self._from_picture and settings.strength is not None:
            self.plan = plan.tail(_steps_to_run(len(plan), settings.strength))
        channels = model.autoencoder.config.latent_channels
        width, height = self.settings.size
        factor = model.autoencoder.factor
        self._shape = (channels, height // factor, width // factor)  # (c h w)
        check_noise_shape(self._inputs.latents, (self.settings.num_images, *self._shape))

        self._turn = threading.RLock()  # one thread at a time takes a step of this run
        self._stop = threading.Event()
        self._wrappers: list[Callable[[Denoise], Denoise]] = []
        self._steps: Iterator[Step] | None = None  # the solver, from the first step to the last
        self._flag = FiniteFlag("unet", model.dtype)
        self._last: Step | None = None
        self.estimates_done = 0
        self._denoised: Tensor | None = None  # the latest estimate, of every network call
        self._done = False
        self._failure: BaseException | None = None
        self._images: list[Image.Image] | None = None

    def __len__(self) -> int:
        """How many steps the whole run has."""
        return len(self.plan)

    @property
    def steps_done(self) -> int:
        """How many steps have been taken so far; less than ``len(run)`` at the end of a run that was stopped."""
        return 0 if self._last is None else self._last.index + 1

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each picture."""
        return self.settings.seeds

    @property
    def notices(self) -> tuple[str, ...]:
        """What should be said about the prompt and the picture: cut words, unknown words, transparency."""
        of_inputs = self._inputs.notices + without_effect(self.model, self.settings, self._scale)
        return self.model.notices + self.model.obstacles + of_inputs + self._prompts.notices

    @property
    def unknown(self) -> tuple[str, ...]:
        """Of these notices, those of words that the model never saw."""
        return self._prompts.unknown

    def wrap(self, wrapper: Callable[[Denoise], Denoise]) -> Self:
        """Put a function around the denoiser, outside of guidance and mask: the seam for recorders.

        ``wrapper`` takes a ``Denoise`` and gives one; what it attaches to the networks it must take off again before
        it returns. The last one that is put on is outermost.

        Raises:
            TintypeError: the run has begun.
        """
        with self._turn:
            if self._steps is not None or self._done:
                raise TintypeError("This run has begun; wrap it before its first step.")
            self._wrappers.append(wrapper)
        return self

    def stop(self) -> None:
        """End before the next network call. From any thread; what is there is kept."""
        self._stop.set()

    def __iter__(self) -> Iterator[Step]:
        """The steps that are still to do, each computed when it is asked for."""
        while (step := self._advance()) is not None:
            yield step

    @property
    def latents(self) -> Tensor:
        """The result before decoding, (b 4 h w) fp32 on the model's device, of about unit variance. Runs to the end.

        After ``stop``: the last estimate of the picture. diffusers calls this ``output_type="latent"``.

        Raises:
            TintypeError: stopped before the first network call.
        """
        for _ in self:
            pass
        if self._last is not None and self.steps_done == len(self):
            return self._last.x_next / sqrt(1 + self._last.sigma_next**2)
        if self._denoised is None:
            raise TintypeError("This run was stopped before its first step; there is no picture.")
        return self._denoised

    @property
    def images(self) -> list[Image.Image]:
        """The pictures, 8-bit RGB, in the order of ``seeds``. Runs to the end and decodes, once."""
        latents = self.latents
        with self._turn:
            if self._images is None:
                images, inputs = self.model.images(latents), self._inputs
                if inputs.image is not None and inputs.weight is not None:
                    images = [paste(image, inputs.image, inputs.weight) for image in images]
                self._images = images
            return list(self._images)

    def _advance(self) -> Step | None:
        """The next step, or None at the end."""
        with self._turn:
            if self._failure is not None:
                raise self._failure
            if self._done:
                return None
            try:
                step = self._next_step()
            except KeyboardInterrupt:  # as good as stop(): the solver cannot go on, what is there is kept
                self._end()
                raise
            except BaseException as error:
                self._failure = error
                self._end()
                raise
            if step is None:
                self._end()
            else:
                self._last = step
            return step

    def _next_step(self) -> Step | None:
        try:
            if self._steps is None:
                self._check_stop()
                self._steps = self._begin()
            step = next(self._steps, None)
        except Stopped:
            self._flag.settle()
            if self._denoised is not None:
                require_finite(self._denoised, "unet", self.model.dtype)
            return None
        if step is None:
            self._flag.settle()
        else:
            self._flag.look(step.x_next)
        return step

    def _end(self) -> None:
        self._done = True
        self._steps = iter(())  # gives the solver's tensors and the conditioning back

    def _begin(self) -> Iterator[Step]:
        """From words and noise to a solver that waits for its first step. Here everything is put together."""
        settings, model, inputs = self.settings, self.model, self._inputs
        model.repack()
        cond, uncond = conditionings(model, settings, self._scale, inputs, self._prompts)
        noise = start_noise(self.seeds, self._shape, settings.noise) if inputs.latents is None else inputs.latents
        noise = noise.to(model.device)  # (b 4 h w)

        denoiser = Denoiser(self._predict, model.schedule, dtype=model.dtype).for_plan(self.plan)
        denoise = guided(
            denoiser,
            cond,
            uncond,
            1.0 if imitates_guidance(model) else self._scale,
            rescale=settings.guidance_rescale,
            interval=settings.guidance_interval,
        )
        x = self.plan.start_scale * noise
        if self._from_picture and inputs.image is not None:
            x0 = model.encode(to_tensor(inputs.image)).to(model.device)  # (1 4 h w)
            x = x0 + x
            if inputs.mask is not None and not takes_masked_pictures(model):
                mask = mask_to_latents(inputs.mask, model.autoencoder.factor).to(model.device)
                denoise = masked(denoise, mask, x0.expand_as(x), noise)
        for wrapper in self._wrappers:
            denoise = wrapper(denoise)
        solver_noise = SolverNoise(self.seeds, self._shape, model.device)
        return self._sampler.solve(self._keeping_estimates(denoise), x, self.plan, eta=settings.eta, noise=solver_noise)

    def _predict(self, x: Tensor, t: Tensor, cond: Prepared) -> Tensor:
        with self.model.lock:  # so that a run that waits for its turn still hears stop()
            self._check_stop()
            with applied(self._prompts.loras):
                return self.model.predict(x, t, cond)

    def _keeping_estimates(self, denoise: Denoise) -> Denoise:
        def keep(x: Tensor, sigma: Sigma) -> Tensor:
            self._denoised = denoise(x, sigma)
            self.estimates_done += 1
            return self._denoised

        return keep

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Stopped


def _steps_to_run(steps: int, strength: float) -> int:
    """The last n steps are run, n = min(int(steps * strength), steps)."""
    count = min(int(steps * strength), steps)
    if count == 0:
        raise SettingsError(
            f"{steps} steps at strength {strength:g} leave no step to run; take more steps, or a strength of at least "
            f"{ceil(1000 / steps) / 1000}."
        )
    return count
