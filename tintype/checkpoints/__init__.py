"""Files -> StableDiffusion, and back."""
