"""The denoiser's error on scenes that it never saw, by noise level, told the right words, wrong ones, and none."""

from __future__ import annotations

import torch
from torch import Tensor

from tintype.diffusion import Denoiser
from tintype.evaluation.examined import Examined
from tintype.evaluation.figures import Figure, Tick, Work, average
from tintype.evaluation.teaching import drawn
from tintype.pipeline.conditions import conditionings
from tintype.scenes import Scene, caption
from tintype.training.draws import Draw
from tintype.training.pictures import scene_of

UNSEEN = 1_000_003
TIMES = (50, 200, 400, 600, 800, 950)
"""Of 1000: how much noise."""
BATCH = 32
