"""Schedules from and to the ``scheduler_config.json`` of a diffusers folder.

A key that the file states applies to every sampler; for an absent key holds the default of the class that wrote it
(betas, steps_offset), or of the sampler that is chosen in the end (spacing, set_alpha_to_one).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tintype.diffusion.aliases import DIFFUSERS, DIFFUSERS_FLAGS
from tintype.diffusion.samplers import sampler as sampler_named
from tintype.diffusion.schedule import Schedule
from tintype.errors import CheckpointError, SettingsError

PREDICTIONS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
BETAS = {
    "linear": Schedule.linear,
    "scaled_linear": Schedule.scaled_linear,
    "squaredcos_cap_v2": lambda start, end, steps, **conventions: Schedule.cosine(steps, **conventions),
}
STABLE_DIFFUSION = ("linear", 0.00085, 0.012)
BETA_DEFAULTS = {
    "HeunDiscreteScheduler": STABLE_DIFFUSION,
    "KDPM2DiscreteScheduler": STABLE_DIFFUSION,
    "KDPM2AncestralDiscreteScheduler": STABLE_DIFFUSION,
    "DPMSolverSDEScheduler": STABLE_DIFFUSION,
    "LCMScheduler": ("scaled_linear", 0.00085, 0.012),
}
"""By class, where the file is silent; every other class: linear, 0.0001 to 0.02."""

WORLD_SPACINGS = ("leading", "trailing", "linspace")
ALGORITHMS = {"dpmpp_2m_sde": "sde-dpmsolver++"}
"""Samplers that share their class with another one, and what tells them from it."""

ONLY = {
    "algorithm_type": ("dpmsolver++", "sde-dpmsolver++", "deis", None),
    "disable_corrector": ([], None),
    "final_sigmas_type": ("zero", None),
    "interpolation_type": ("linear", None),
    "lambda_min_clipped": (float("-inf"), None),
    "original_inference_steps": (50, None),
    "predict_x0": (True, None),
    "sigma_max": (None,),
    "sigma_min": (None,),
    "solver_order": (2, None),
    "solver_type": ("midpoint", "bh2", "logrho", None),
    "thresholding": (False, None),
    "timestep_scaling": (10.0, None),
    "timestep_type": ("discrete", None),
    "use_flow_sigmas": (False, None),
    "use_lu_lambdas": (False, None),
    "variance_type": ("fixed_small", None),
}
"""Keys that change the numbers, with the only values that are understood. ``clip_sample`` is not among them: latents
are never clipped, and diffusers' own pipelines turn it off. Nor is ``skip_prk_steps``: PNDM always skips them."""


def from_diffusers(config: Mapping[str, Any]) -> Schedule:
    """The schedule that a scheduler_config.json states; CheckpointError for a value that is not understood."""
    for key, values in ONLY.items():
        if config.get(key) not in values:
            raise CheckpointError(_unknown(key, config[key], [value for value in values if value is not None]))
    name = config.get("_class_name", "DDIMScheduler")
    conventions = {
        "sampler": _sampler(name, config.get("algorithm_type")),
        "prediction": _chosen("prediction_type", config.get("prediction_type", "epsilon"), PREDICTIONS),
        "steps_offset": config.get("steps_offset", 0),
        "set_alpha_to_one": config.get("set_alpha_to_one"),
        "spacing": config.get("timestep_spacing"),
        "curve": next((curve for flag, curve in DIFFUSERS_FLAGS.items() if config.get(flag)), None),
        "zero_terminal_snr": bool(config.get("rescale_betas_zero_snr")),
    }
    if conventions["spacing"] is not None:
        _chosen("timestep_spacing", conventions["spacing"], dict.fromkeys(WORLD_SPACINGS))
    try:
        if config.get("trained_betas") is not None:
            return Schedule.from_betas(config["trained_betas"], **conventions)
        betas, start, end = BETA_DEFAULTS.get(name, ("linear", 0.0001, 0.02))
        make = _chosen("beta_schedule", config.get("beta_schedule", betas), BETAS)
        start, end = config.get("beta_start", start), config.get("beta_end", end)
        return make(start, end, config.get("num_train_timesteps", 1000), **conventions)
    except (SettingsError, TypeError, ValueError) as error:
        raise CheckpointError(f"scheduler_config.json: {error}") from error


def to_diffusers(schedule: Schedule, sampler: str | None = None) -> dict[str, Any]:
    """The scheduler_config.json of a schedule, for ``sampler`` (None: the schedule's own, or else ddim)."""
    chosen = sampler_named(sampler or schedule.sampler or "ddim").name
    names = {ours: theirs for theirs, ours in DIFFUSERS.items()}
    names |= {"dpmpp_2m_sde": names["dpmpp_2m"]}
    if chosen not in names:
        chosen = "ddim"  # diffusers has no class for it
    flags = {curve: flag for flag, curve in DIFFUSERS_FLAGS.items()}
    config = {
        "_class_name": names[chosen],
        "algorithm_type": ALGORITHMS.get(chosen),
        "num_train_timesteps": schedule.num_train_timesteps,
        **_stated_betas(schedule),
        "prediction_type": {ours: theirs for theirs, ours in PREDICTIONS.items()}[schedule.prediction],
        "steps_offset": schedule.steps_offset,
        "set_alpha_to_one": schedule.set_alpha_to_one,
        "timestep_spacing": schedule.spacing if schedule.spacing in WORLD_SPACINGS else None,
        **({flags[schedule.curve]: True} if schedule.curve in flags else {}),
        "rescale_betas_zero_snr": True if schedule.zero_terminal_snr else None,
        "clip_sample": False,
        "skip_prk_steps": True,
    }
    return {key: value for key, value in config.items() if value is not None}


def _sampler(name: Any, algorithm: str | None) -> str:
    chosen = _chosen("_class_name", name, DIFFUSERS)
    if algorithm in ALGORITHMS.values():
        if chosen != "dpmpp_2m":
            raise CheckpointError(_unknown("algorithm_type", algorithm, [f"another one with {name}"]))
        return "dpmpp_2m_sde"
    return chosen


def _stated_betas(schedule: Schedule) -> dict[str, Any]:
    """The betas as a name and two ends where a named schedule has exactly these, else as a list."""
    steps = schedule.num_train_timesteps
    start, end = (float(f"{beta:.12g}") for beta in (schedule.betas[0], schedule.betas[-1]))
    for name, make in BETAS.items():
        if np.allclose(make(start, end, steps).betas, schedule.betas, rtol=1e-9, atol=0):
            return {"beta_schedule": name, "beta_start": start, "beta_end": end}
    return {"trained_betas": list(schedule.betas)}


def _chosen(key: str, value: Any, table: Mapping[str, Any]) -> Any:
    if not isinstance(value, str) or value not in table:
        raise CheckpointError(_unknown(key, value, list(table)))
    return table[value]


def _unknown(key: str, value: Any, expected: list) -> str:
    return f"scheduler_config.json: {key} {value!r} is not supported; expected {', '.join(map(str, expected))}"
