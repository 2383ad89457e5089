"""What the one loop can teach: CLIP, the autoencoder, the noise predictor."""

from tintype.training.tasks.contrastive import ContrastiveTask
from tintype.training.tasks.diffusion import DiffusionTask
from tintype.training.tasks.reconstruction import ReconstructionTask

__all__ = ["ContrastiveTask", "DiffusionTask", "ReconstructionTask"]
